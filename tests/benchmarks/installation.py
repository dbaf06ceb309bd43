"""A whole installation for benchmarks and tests of the whole: `atelier up` on a home of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.demo.client import Client
from api.installation import adopt_running
from shared.db import transaction
from shared.services import tenants
from shared.settings import adopt, environment
from shared.states import Scope
from tests.settings import forget_settings

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Installation:
    """An installation that runs, and a client of it."""

    address: str
    tenant_id: str
    key: str
    client: Client
    process: subprocess.Popen[str]
    home: Path


@contextmanager
def installation(**variables: str) -> Iterator[Installation]:
    """Run one with these settings beside the defaults; everything is gone afterwards."""
    before = environment()
    home = Path(tempfile.mkdtemp(prefix="atelier-"))
    home.chmod(0o711)
    port = _free_port()
    # Requests of a benchmark all come with one key, as fast as they can.
    fast = {"ATELIER_KEY_REQUESTS": "1000000", "ATELIER_TENANT_REQUESTS": "1000000"}
    ours = {"ATELIER_HOME": str(home), "ATELIER_PORT": str(port), **fast, **variables}
    # What `atelier up` is to start itself, no URL of ours may name.
    clean = {name: value for name, value in before.items() if not name.startswith("ATELIER_")}
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "atelier"), "up"],
        env=clean | ours,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _await_ready(process)
        os.environ.pop("ATELIER_DATABASE_URL", None)
        adopt(ours)
        adopt_running()
        forget_settings()
        with transaction() as session:
            tenant = tenants.add_tenant(session, "benchmark")
            _, key = tenants.add_key(session, tenant.id, "benchmark", [Scope.ADMIN])
        address = f"http://127.0.0.1:{port}"
        client = Client(address, key)
        yield Installation(address, tenant.id, key, client, process, home)
        client.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        os.environ.clear()
        os.environ.update(before)
        forget_settings()
        shutil.rmtree(home, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_ready(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("ready"):
            return
    raise RuntimeError("the installation did not start:\n" + "".join(said))
