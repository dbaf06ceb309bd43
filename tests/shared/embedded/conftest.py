"""A home that the engines' user can enter, and a real supervisor in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from shared.embedded.engines import engines
from tests.homes import scratch_home
from tests.waiting import until

SCRIPT = Path(__file__).with_name("installation.py")
PROJECT = Path(__file__).parents[3]


@pytest.fixture
def home() -> Iterator[Path]:
    with scratch_home() as folder:
        yield folder


@pytest.fixture(scope="session")
def made() -> Iterator[Path]:
    """A home whose database was made once; tests take copies."""
    with scratch_home() as folder:
        with engines(folder, valkey=False):
            pass
        yield folder


@pytest.fixture
def old_home(home: Path, made: Path) -> Path:
    """A home that ran before."""
    subprocess.run(["cp", "-a", f"{made}/.", home], check=True)
    return home


@pytest.fixture
def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Installation:
    """`installation.py` on a home, and what of it is alive."""

    def __init__(self, home: Path, port: int, **options: Any):
        self.home = home
        self.port = port
        self.supervisor = subprocess.Popen(
            [sys.executable, SCRIPT, str(home), str(port), json.dumps(options)],
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "ATELIER_TEST_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def urls(self) -> dict[str, str]:
        """Wait for the line that says ready, and return what it tells."""
        line = self.supervisor.stdout.readline()
        assert line, self.supervisor.stderr.read()
        return json.loads(line)

    def leader(self, name: str) -> int | None:
        """The pid of a program, as its note in the home tells; None between two lives."""
        notes = list((self.home / "run").glob(f"{name}-*.pid"))
        return int(notes[0].stem.rpartition("-")[2]) if notes else None

    def stop(self, how: signal.Signals) -> tuple[int, str]:
        """Send a signal, wait for the end; returns the exit status and what was said."""
        self.supervisor.send_signal(how)
        _, said = self.supervisor.communicate(timeout=60)
        return self.supervisor.returncode, said

    def processes(self) -> list[str]:
        """Every living process that the home or the mark of this test gives away."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if str(self.home) in _traces(process) and int(process.name) != os.getpid():
                    found.append(f"{process.name} {(process / 'cmdline').read_bytes()!r}")
        return found


def _traces(process: Path) -> str:
    """Arguments, environment and working folder: one of them names the home."""
    texts = [
        (process / part).read_bytes().decode(errors="replace") for part in ("cmdline", "environ")
    ]
    return " ".join([*texts, os.readlink(process / "cwd")])


@pytest.fixture
def start(old_home: Path, free_port: int) -> Iterator[Callable[..., Installation]]:
    """Starts an installation on the test's home; whatever is left of it is killed at the end."""
    started: list[Installation] = []

    def _start(**options: Any) -> Installation:
        started.append(Installation(old_home, free_port, **options))
        return started[-1]

    yield _start
    for installation in started:
        if installation.supervisor.poll() is None:
            installation.stop(signal.SIGKILL)
        installation.supervisor.stdout.close()
        installation.supervisor.stderr.close()
    for installation in started:
        until(lambda one=installation: not one.processes())
