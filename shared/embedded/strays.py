"""Processes of an engine that outlived its leader outside of its process group (Linux only)."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from shared.embedded.guardian import born


def kill_strays(folder: Path, program: str) -> None:
    """Kill the processes of that program that work in `folder`, and wait until they are gone.

    A killed PostgreSQL leaves backends that finish their query first, and until then its data
    folder cannot be opened again.
    """
    strays = working_in(folder, program)
    for pid in strays:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    deadline = time.monotonic() + 5
    while any(born(pid) for pid in strays) and time.monotonic() < deadline:
        time.sleep(0.01)


def working_in(folder: Path, program: str) -> list[int]:
    """The pids of that program whose working folder is `folder`; none where there is no /proc."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        # Processes end while we look, and those of other users do not let us look.
        with suppress(OSError):
            binary = Path(os.readlink(process / "exe")).name
            if binary == program and os.readlink(process / "cwd") == str(folder):
                found.append(int(process.name))
    return found
