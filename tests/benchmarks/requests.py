"""How many requests the API answers, with the server's default settings but its limits of requests
a minute; whoever asks runs on the same cores. One line of JSON; run: python -m
tests.benchmarks.requests

* get_job_per_s: the state of a job, by eight connections; get_job_p99_ms: at half that rate
* post_job_per_s: one-item jobs; post_ratio: against a bare Flask application that commits one
  INSERT, served alike
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import text

from shared.db import transaction
from shared.settings import settings
from tests.benchmarks.installation import ROOT, Installation, installation
from tests.benchmarks.ledger import percentile
from tests.ledger import add_stand_in, submit

CONNECTIONS = 8
SECONDS = 8.0


class Connection:
    """A connection kept open, which does as little as it can beside the request."""

    def __init__(self, address: str):
        parts = urlsplit(address)
        self.host = f"{parts.hostname}:{parts.port}"
        self.socket = socket.create_connection((parts.hostname, parts.port))
        self.stream = self.socket.makefile("rb")

    def ask(self, request: bytes) -> None:
        """Send a request and read its answer whole."""
        self.socket.sendall(request)
        status = self.stream.readline()
        assert status.split()[1] in {b"200", b"202"}, status
        length = 0
        while (line := self.stream.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        self.stream.read(length)


def request(address: str, method: str, path: str, key: str = "", body: Any = None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(address).netloc}"]
    lines += [f"Authorization: Bearer {key}", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode() + content


def ask(address: str, asked: bytes, per_s: float | None = None) -> list[float]:
    """Milliseconds of every answer; as many as there can be, or at a steady rate in all."""
    ends_at = time.perf_counter() + SECONDS

    def one_after_the_other(number: int) -> list[float]:
        connection = Connection(address)
        found = []
        pause_s = CONNECTIONS / per_s if per_s else 0.0
        due = time.perf_counter() + pause_s * number / CONNECTIONS
        while (now := time.perf_counter()) < ends_at:
            if pause_s and now < due:
                time.sleep(due - now)
            began = max(due, now) if pause_s else now
            connection.ask(asked)
            found.append(1000 * (time.perf_counter() - began))
            due += pause_s
        return found

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return [each for some in pool.map(one_after_the_other, range(CONNECTIONS)) for each in some]


@contextmanager
def bare(port: int) -> Iterator[str]:
    """The bare application, on the database of the installation."""
    url = settings().required("database_url")
    with transaction() as session:
        session.execute(text("CREATE TABLE bare (id bigserial PRIMARY KEY, body jsonb)"))
    argv = [sys.executable, "-m", "gunicorn", "tests.benchmarks.bare:app"]
    argv += ["--bind", f"127.0.0.1:{port}", "--worker-class", "gthread"]
    argv += ["--workers", "2", "--threads", "88", "--log-level", "warning"]
    process = subprocess.Popen(argv, cwd=ROOT, env={**os.environ, "BARE_DATABASE_URL": url})
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def measure(on: Installation) -> dict[str, Any]:
    job = submit(on.tenant_id, [{"seconds": 60}] * 2000)
    look = request(on.address, "GET", f"/api/v1/jobs/{job.id}", on.key)
    ask(on.address, look)  # every thread is warm
    looks = ask(on.address, look)
    rate = len(looks) / SECONDS
    paced = ask(on.address, look, per_s=rate / 2)
    body = {"kind": "generation", "model": "stand-in", "items": [{"params": {}}]}
    posts = ask(on.address, request(on.address, "POST", "/api/v1/jobs", on.key, body))
    with bare(int(urlsplit(on.address).port or 0) + 1) as address:
        asked = request(address, "POST", "/bare", body=body)
        ask(address, asked)
        inserts = ask(address, asked)
    return {
        "get_job_per_s": round(rate),
        "get_job_p50_ms": round(percentile(looks, 0.5), 1),
        "get_job_p99_ms": round(percentile(paced, 0.99), 1),
        "post_job_per_s": round(len(posts) / SECONDS),
        "bare_per_s": round(len(inserts) / SECONDS),
        "post_ratio": round(len(posts) / len(inserts), 3),
    }


def main() -> None:
    with installation(ATELIER_FAMILIES="tests.families.stand_in") as on:
        add_stand_in(on.tenant_id)
        print(json.dumps(measure(on)))


if __name__ == "__main__":
    main()
