"""Real worker processes for tests that hurt them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from shared.settings import environment

ROOT = Path(__file__).resolve().parents[2]
QUICK = {
    "ATELIER_LEASE_SECONDS": "4",
    "ATELIER_RENEW_SECONDS": "1",
    "ATELIER_STOP_POLL_SECONDS": "0.3",
    "ATELIER_SWEEP_SECONDS": "1",
}
"""The same machinery at a tenth of the time."""


class Group:
    """One program with its children, in a process group of its own."""

    def __init__(self, *argv: str):
        self.child = subprocess.Popen(
            [sys.executable, *argv],
            cwd=ROOT,
            env=environment() | QUICK,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program and all its children."""
        os.killpg(self.child.pid, number)

    def end(self) -> None:
        if self.child.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
        self.child.wait()


@contextmanager
def running(*argv: str) -> Iterator[Group]:
    group = Group(*argv)
    try:
        yield group
    finally:
        group.end()


def worker(lanes: str = "text") -> AbstractContextManager[Group]:
    return running(
        "-m",
        "celery",
        "-A",
        "worker.app",
        "worker",
        "-Q",
        lanes,
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
    )


def sweeper() -> AbstractContextManager[Group]:
    return running("-m", "worker.sweeper")


def until(holds: Callable[[], bool], within_s: float = 60) -> None:
    """Poll until something holds. Raises TimeoutError."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{holds.__name__} did not hold within {within_s} s")
        time.sleep(0.05)
