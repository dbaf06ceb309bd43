"""Real programs of the installation, for tests that hurt them."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from shared.queues import WORK, make_celery
from shared.settings import environment
from shared.states import Lane

ROOT = Path(__file__).resolve().parents[2]
POINTS = Path(__file__).resolve().parent / "points"
QUICK = {
    "ATELIER_LEASE_SECONDS": "4",
    "ATELIER_RENEW_SECONDS": "1",
    "ATELIER_STOP_POLL_SECONDS": "0.3",
    "ATELIER_SWEEP_SECONDS": "1",
}
"""The same machinery at a tenth of the time."""


class Group:
    """One program with its children, in a process group of its own; `within` is a command that
    becomes the program.
    """

    def __init__(
        self, *argv: str, within: Sequence[str] = (), log: Path | None = None, **variables: str
    ):
        path = os.pathsep.join([str(POINTS), str(ROOT)])
        with open(log or os.devnull, "ab") as output:
            self.child = subprocess.Popen(
                [*within, sys.executable, *argv],
                cwd=ROOT,
                env=environment() | QUICK | {"PYTHONPATH": path} | variables,
                start_new_session=True,
                stdout=output,
                stderr=output,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program and all its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.child.pid, number)

    def kill(self) -> None:
        """End it and all its children at once, though it be frozen."""
        self.signal(signal.SIGKILL)
        self.child.wait()

    def ask_to_stop(self) -> None:
        """Ask it to end, as a deploy does."""
        self.child.send_signal(signal.SIGTERM)

    def stop(self, within_s: float = 30) -> None:
        """Ask it to end and wait. Raises TimeoutExpired."""
        self.ask_to_stop()
        self.child.wait(timeout=within_s)
        self.signal(signal.SIGKILL)


@contextmanager
def running(
    *argv: str, within: Sequence[str] = (), log: Path | None = None, **variables: str
) -> Iterator[Group]:
    group = Group(*argv, within=within, log=log, **variables)
    try:
        yield group
    finally:
        group.kill()


WORKER = ("-m", "celery", "-A", "worker.app", "worker", "--without-gossip", "--without-mingle")
WORKER += ("--without-heartbeat", "-Q")
IMPATIENT_WORKER = tuple(word.replace("worker.app", "tests.chaos.impatient") for word in WORKER)
SWEEPER = ("-m", "worker.sweeper")
API = ("-m", "gunicorn", "--config", "python:api.server", "--workers", "1", "--threads", "8")


def worker(lanes: str = "text", **variables: str) -> AbstractContextManager[Group]:
    return running(*WORKER, lanes, **variables)


def sweeper(**variables: str) -> AbstractContextManager[Group]:
    return running(*SWEEPER, **variables)


def send_hints(lane: Lane, count: int) -> None:
    """Put so many messages into the lane's queue; `hint` makes one of several calls."""
    with make_celery() as app:
        for _ in range(count):
            app.send_task(WORK, args=[lane], queue=lane, retry=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
