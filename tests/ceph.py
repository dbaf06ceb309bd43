"""A real S3 server for tests: a Ceph monitor, one storage daemon in memory and a RADOS gateway.

All of it on loopback and in a scratch folder; nothing stays.
"""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.waiting import until

PROGRAMS = (
    "ceph",
    "ceph-mon",
    "ceph-osd",
    "radosgw",
    "radosgw-admin",
    "ceph-authtool",
    "monmaptool",
)
_START_S = 90.0


@dataclass
class Ceph:
    """A running server, as a client needs to know it."""

    endpoint: str
    access_key: str
    secret_key: str
    folder: Path
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def stop_gateway(self) -> None:
        """Stop answering, as a server that has gone away."""
        _end(self.daemons.pop())


def missing_programs() -> list[str]:
    """What of Ceph is not installed here."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextmanager
def ceph() -> Iterator[Ceph]:
    """A server with one user. Raises TimeoutError when it does not come up."""
    with tempfile.TemporaryDirectory(prefix="ceph-") as scratch:
        folder = Path(scratch)
        gateway, messenger, legacy = _free_ports(3)
        server = Ceph(
            f"http://127.0.0.1:{gateway}", secrets.token_hex(10), secrets.token_hex(20), folder
        )
        _configure(folder, gateway, messenger, legacy)
        try:
            _start_monitor(server, messenger, legacy)
            _start_storage(server)
            _start_gateway(server)
            yield server
        finally:
            for daemon in reversed(server.daemons):
                _end(daemon)


def _free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def _addresses(messenger: int, legacy: int) -> str:
    return f"[v2:127.0.0.1:{messenger},v1:127.0.0.1:{legacy}]"


def _configure(folder: Path, gateway: int, messenger: int, legacy: int) -> None:
    for name in ("mon", "osd", "log", "run"):
        (folder / name).mkdir()
    settings = {
        "fsid": uuid.uuid4(),
        "mon_host": _addresses(messenger, legacy),
        "public_addr": "127.0.0.1",
        "cluster_addr": "127.0.0.1",
        "keyring": folder / "keyring",
        "mon_data": folder / "mon",
        "osd_data": folder / "osd",
        "run_dir": folder / "run",
        "admin_socket": folder / "run" / "$name.asok",
        "log_file": folder / "log" / "$name.log",
        # Agreement among one needs no waiting.
        "paxos_propose_interval": 0.05,
        "paxos_min_wait": 0.02,
        # One copy of everything, in memory, is enough for a test.
        "mon_allow_pool_size_one": "true",
        "mon_max_pg_per_osd": 1000,
        "osd_objectstore": "memstore",
        "memstore_device_bytes": 1 << 30,
        "osd_pool_default_size": 1,
        "osd_pool_default_min_size": 1,
        "osd_pool_default_pg_num": 4,
        "osd_pool_default_pgp_num": 4,
        "osd_pool_default_pg_autoscale_mode": "off",
        "osd_crush_chooseleaf_type": 0,
        "osd_crush_update_on_start": "false",
        "osd_class_load_list": "*",
        "osd_class_default_list": "*",
        "rgw_frontends": f"beast endpoint=127.0.0.1:{gateway}",
    }
    lines = [f"{name} = {value}" for name, value in settings.items()]
    (folder / "ceph.conf").write_text("\n".join(["[global]", *lines, ""]), encoding="utf-8")


def _start_monitor(server: Ceph, messenger: int, legacy: int) -> None:
    keyring, monmap = str(server.folder / "keyring"), str(server.folder / "monmap")
    everything = ["--cap", "mon", "allow *", "--cap", "osd", "allow *"]
    _run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", *everything[:3])
    _run("ceph-authtool", keyring, "--gen-key", "-n", "client.admin", *everything)
    storage_may = ["--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"]
    _run("ceph-authtool", keyring, "--gen-key", "-n", "osd.0", *storage_may)
    _run("monmaptool", "--create", "--addv", "a", _addresses(messenger, legacy), monmap)
    make = ("--mkfs", "--monmap", monmap, "--keyring", keyring)
    _run(*_with_conf(server, "ceph-mon"), "-i", "a", *make)
    _daemon(server, "ceph-mon", "-i", "a", "-f")
    until(lambda: _ask(server, "mon", "stat") is not None, _START_S)


def _start_storage(server: Ceph) -> None:
    id_ = str(uuid.uuid4())
    _run(*_with_conf(server, "ceph"), "auth", "import", "-i", str(server.folder / "keyring"))
    _run(*_with_conf(server, "ceph"), "osd", "new", id_, "0")
    _run(*_with_conf(server, "ceph-osd"), "-i", "0", "--mkfs", "--osd-uuid", id_)
    place = ("osd", "crush", "add", "osd.0", "1.0", "root=default", "host=here")
    _run(*_with_conf(server, "ceph"), *place)
    _daemon(server, "ceph-osd", "-i", "0", "-f")
    until(lambda: "1 up" in (_ask(server, "osd", "stat") or ""), _START_S)


def _start_gateway(server: Ceph) -> None:
    _daemon(server, "radosgw", "-n", "client.admin", "-f")
    until(lambda: _answers(server.endpoint), _START_S)
    user = ("user", "create", "--uid", "test", "--display-name", "test")
    keys = ("--access-key", server.access_key, "--secret", server.secret_key)
    _run(*_with_conf(server, "radosgw-admin"), *user, *keys)


def _with_conf(server: Ceph, program: str) -> list[str]:
    return [program, "-c", str(server.folder / "ceph.conf")]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, timeout=_START_S, check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace")
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {said[-2000:]}")


def _ask(server: Ceph, *question: str) -> str | None:
    """What the monitor answers; None when it does not answer in time."""
    command = [*_with_conf(server, "ceph"), "--connect-timeout", "5", *question]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    return done.stdout.decode() if done.returncode == 0 else None


def _daemon(server: Ceph, program: str, *arguments: str) -> None:
    with (server.folder / "log" / f"{program}.out").open("wb") as said:
        command = [*_with_conf(server, program), *arguments]
        started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    server.daemons.append(started)


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(10)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _answers(endpoint: str) -> bool:
    try:
        return httpx.get(endpoint, timeout=5).status_code < 500
    except httpx.TransportError:
        return False


def in_ci() -> bool:
    """Whether nothing may be skipped."""
    return bool(os.environ.get("CI"))
