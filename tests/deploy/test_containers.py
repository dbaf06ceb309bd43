"""What the containers of the compose file run, run here: settings, health checks, the bucket."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import text

from shared.db import transaction
from shared.embedded.find import find_valkey
from shared.embedded.ports import kept_port
from shared.embedded.valkey import answers
from shared.services import workers
from shared.states import Lane
from tests.deploy.composed import ROOT, WORKERS
from tests.threads import serving


def test_postgres_is_set_as_the_embedded_one(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    from shared.embedded.postgres import settings_for

    own_affairs = ("port", "listen_", "unix_", "max_conn", "fsync", "max_wal", "log_line")
    wanted = {pair for pair in settings_for(tmp_path, 5432) if not pair.startswith(own_affairs)}

    assert wanted <= set(services["postgres"]["command"])


def run_script(argv: list[str], **values: str) -> subprocess.CompletedProcess[str]:
    """Run one of the file's Python scripts as its container would."""
    command = argv[1:] if argv[0] == "CMD" else argv
    assert command[:2] == ["python", "-c"]
    return subprocess.run(
        [sys.executable, "-W", "error", *command[1:]],
        cwd=ROOT,
        env=os.environ | values,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_worker_is_healthy_while_it_reports_itself(
    installation: Path, services: dict[str, dict[str, Any]]
) -> None:
    check = services["worker-cpu"]["healthcheck"]["test"]
    assert all(services[name]["healthcheck"]["test"] == check for name in WORKERS)
    with transaction() as session:
        workers.report(session, "this-host:7", [Lane.IMAGE], "cpu", [])

    assert run_script(check, ATELIER_WORKER_NAME="this-host").returncode == 0
    assert run_script(check, ATELIER_WORKER_NAME="another-host").returncode == 1

    with transaction() as session:
        session.execute(text("UPDATE workers SET seen_at = now() - interval '2 minutes'"))
    assert run_script(check, ATELIER_WORKER_NAME="this-host").returncode == 1


def test_a_sweeper_is_healthy_while_no_expired_lease_stays(
    installation: Path, services: dict[str, dict[str, Any]]
) -> None:
    check = services["sweeper"]["healthcheck"]["test"]
    add_lease = text("""
        INSERT INTO leases (token, worker, lane, items, stage, expires_at)
        VALUES (:token, 'gone:1', 'image', '{}', 'load', now() - cast(:ago AS interval))
    """)

    with transaction() as session:
        session.execute(add_lease, {"token": uuid4(), "ago": "20 seconds"})
    assert run_script(check).returncode == 0

    with transaction() as session:
        session.execute(add_lease, {"token": uuid4(), "ago": "5 minutes"})
    assert run_script(check).returncode == 1


class Bucketless(BaseHTTPRequestHandler):
    """As much of an S3 server as the script `bucket` asks for: no bucket yet."""

    server: "S3"

    def do_GET(self) -> None:
        signed = "Authorization" in self.headers
        if not signed and not self.server.is_open:
            self._answer(403, b"")
            return
        buckets = "".join(f"<Bucket><Name>{name}</Name></Bucket>" for name in self.server.buckets)
        answer = f"<ListAllMyBucketsResult><Buckets>{buckets}</Buckets></ListAllMyBucketsResult>"
        self._answer(200, answer.encode())

    def do_PUT(self) -> None:
        self.server.buckets.append(self.path.strip("/"))
        self._answer(200, b"")

    def log_message(self, *_: object) -> None:
        """Nothing: the test says what went wrong."""

    def _answer(self, status: int, body: bytes) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class S3(ThreadingHTTPServer):
    is_open = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Bucketless)
        self.buckets: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving_s3() -> Iterator[S3]:
    with S3() as server, serving(server):
        yield server


def make_bucket(
    services: dict[str, dict[str, Any]], server: S3
) -> subprocess.CompletedProcess[str]:
    values = services["bucket"]["environment"] | {"ATELIER_S3_ENDPOINT": server.address}
    return run_script(services["bucket"]["command"], **values)


def test_the_bucket_is_made_once(services: dict[str, dict[str, Any]]) -> None:
    with serving_s3() as server:
        first, second = make_bucket(services, server), make_bucket(services, server)

        assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
        assert server.buckets == ["atelier"]


def test_an_open_object_storage_is_refused(services: dict[str, dict[str, Any]]) -> None:
    with serving_s3() as server:
        server.is_open = True
        answer = make_bucket(services, server)

        assert answer.returncode == 1
        assert "must ask for credentials" in answer.stderr


def test_valkey_takes_its_configuration_and_password(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    port = kept_port(tmp_path / "port")
    binaries = find_valkey()
    shell, option, script = services["valkey"]["command"]
    # The image's entry point only lowers its rights before it becomes this program.
    started = (
        script.replace("$$", "$")
        .replace("docker-entrypoint.sh valkey-server", str(binaries / binaries.programs[0]))
        .replace("dir /data", f"dir {tmp_path}\nport {port}\nbind 127.0.0.1")
    )
    password = services["valkey"]["environment"]["REDISCLI_AUTH"]
    server = subprocess.Popen(
        [shell, option, started],
        env={"PATH": os.environ["PATH"], "REDISCLI_AUTH": password},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert server.stdout is not None
    with server, server.stdout:
        try:
            assert any("Ready to accept connections" in line for line in server.stdout)
            assert answers(f"redis://:{password}@127.0.0.1:{port}/0")
            arguments = Path(f"/proc/{server.pid}/cmdline")
            assert not arguments.exists() or password not in arguments.read_text()
        finally:
            server.terminate()
