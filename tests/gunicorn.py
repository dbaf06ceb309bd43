"""The API as an installation serves it: a gunicorn with our settings and its worker processes."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Gunicorn:
    """One that answers."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def say(self, sent: bytes) -> bytes:
        """The whole answer to these bytes, until the connection is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(sent)
            return b"".join(iter(lambda: connection.recv(65_536), b""))


@contextmanager
def gunicorn(**variables: str) -> Iterator[Gunicorn]:
    """Serve by the test's settings and these."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    argv = [sys.executable, "-m", "gunicorn", "--config", "python:api.server"]
    process = subprocess.Popen(
        [*argv, "--bind", f"127.0.0.1:{port}"],
        cwd=ROOT,
        env={**os.environ, **variables},
        start_new_session=True,
    )
    server = Gunicorn(port, process)
    try:
        until(lambda: _answers(server), within_s=60)
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(server: Gunicorn) -> bool:
    assert server.process.poll() is None, "gunicorn has ended"
    try:
        return httpx.get(f"{server.address}/api/v1/health/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
