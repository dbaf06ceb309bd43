"""A small installation for the tests: what `atelier up` calls, with stand-ins for its programs."""

import json
import os
import socket
import sys
from pathlib import Path

from shared.embedded.engines import Urls
from shared.embedded.errors import EmbeddedError
from shared.embedded.process import Program
from shared.embedded.up import serve

FAMILY = """
import signal, subprocess, sys
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
children = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]
children[0].wait()
"""

home, port, options = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])


def listens() -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def programs(urls: Urls) -> list[Program]:
    environment = dict(os.environ)
    server = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    worker = options.get("worker") or [sys.executable, "-c", FAMILY, *options.get("words", [])]
    return [
        Program("api", server, environment, ready=listens, log=home / "log" / "api.log"),
        Program(
            "worker",
            worker,
            environment,
            grace_s=options.get("grace_s", 5.0),
            nice=5,
            log=home / "log" / "worker.log",
        ),
    ]


def ready(urls: Urls) -> None:
    print(json.dumps({"database": urls.database, "redis": urls.redis}), flush=True)


elsewhere = None if options.get("engines", True) else "unused:"
try:
    serve(
        home,
        programs,
        database_url=elsewhere,
        redis_url=elsewhere,
        host="127.0.0.1",
        port=port,
        ready=ready,
    )
except EmbeddedError as error:
    sys.exit(f"{type(error).__name__}: {error}")
