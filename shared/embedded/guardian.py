"""Stops what a dead supervisor left: the groups that the pid files in the home's `run` name.

Also run as a file, as the process beside the supervisor that waits for its end: only the standard
library. Its standard input is a pipe that the supervisor holds open and never writes to.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


def born(pid: int) -> str | None:
    """When a process started, in the system's own words; None when it has ended.

    Together with the pid it names one process: pids come back, starts do not.
    """
    if not Path("/proc/self/stat").exists():
        return _born_by_ps(pid)

    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in ("Z", "X") else rest[18]


def _born_by_ps(pid: int) -> str | None:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    state, _, start = answer.partition(" ")
    return None if not start or state.startswith("Z") else start.strip()


def write_note(run: Path, name: str, pid: int, stop_signal: int, grace_s: float) -> Path:
    """Note a started group leader in `run`; returns the file, to be removed when it has ended."""
    note = {"pid": pid, "born": born(pid), "signal": int(stop_signal), "grace_s": grace_s}
    file = run / f"{name}-{pid}.pid"
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(note))
    return draft.rename(file)


def stop_leftovers(run: Path) -> list[str]:
    """Stop every group noted in `run`: its own signal, its grace, then SIGKILL.

    Returns the names of those that were still there. Notes of ended processes are removed.
    """
    notes = {file: note for file in run.glob("*.pid") if (note := _read(file))}
    alive = {file: note for file, note in notes.items() if _lives(note)}
    for note in alive.values():
        _send(os.kill, note["pid"], note["signal"])

    started = time.monotonic()
    waiting = dict(notes)
    while waiting:
        waited_s = time.monotonic() - started
        for file, note in list(waiting.items()):
            if not _lives(note) or waited_s >= note["grace_s"]:
                _end_group(note)
                del waiting[file]
        time.sleep(0.05)

    for file in notes:
        file.unlink(missing_ok=True)
    return [file.stem for file in alive]


def _end_group(note: dict[str, Any]) -> None:
    """Kill what is left of a group; a leader's children may outlive it and keep its number."""
    number_was_reused = not _lives(note) and born(note["pid"]) is not None
    if not number_was_reused:
        _send(os.killpg, note["pid"], signal.SIGKILL)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


def _lives(note: dict[str, Any]) -> bool:
    return note["born"] is not None and born(note["pid"]) == note["born"]


def _send(how: Any, pid: int, signal_number: int) -> None:
    # Already gone, or (macOS, for a group of zombies) not ours to signal any more.
    with suppress(ProcessLookupError, PermissionError):
        how(pid, signal_number)


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    sys.stdin.read()  # returns when the supervisor has ended
    stop_leftovers(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
