"""Ports on loopback: a free one for an engine, and who holds the one that was asked for."""

import os
import random
import socket
from contextlib import suppress
from pathlib import Path

from shared.embedded.errors import PortTaken

# Below the ranges from which systems hand out ports for outgoing connections (Linux 32768 on, macOS
# 49152 on): a client's connection must not sit on an engine's port while the engine restarts.
ENGINE_PORTS = range(20_000, 32_000)
LISTEN = "0A"


def kept_port(file: Path) -> int:
    """The port noted in `file` when it is still free, else a free one, which is noted."""
    with suppress(FileNotFoundError, ValueError):
        port = int(file.read_text())
        if is_free(port):
            return port

    choice = random.SystemRandom()
    port = next(port for port in iter(lambda: choice.choice(ENGINE_PORTS), None) if is_free(port))
    file.write_text(str(port))
    return port


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    try:
        _listen_once(port, host)
    except OSError:
        return False
    return True


def require_free_port(port: int, host: str) -> None:
    """Raise PortTaken, with the holder where the system tells, unless `port` can be listened to."""
    try:
        _listen_once(port, host)
    except PermissionError as error:
        raise PortTaken(
            f"Port {port} may not be used: ports below 1024 belong to root. Set ATELIER_PORT to "
            "another one."
        ) from error
    except OSError as error:
        raise PortTaken(
            f"Port {port} is taken by {holder(port)}. Stop that process, or set ATELIER_PORT to "
            "another port."
        ) from error


def _listen_once(port: int, host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        # Without it, connections that ended a moment ago would make the port look taken.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1)


def holder(port: int) -> str:
    """Words for the process that listens on `port`: its pid and command where /proc tells."""
    inodes = _listening_inodes(port)
    for process in Path("/proc").glob("[0-9]*"):
        # Processes end while we look, and those of other users do not let us look.
        with suppress(OSError):
            links = (os.readlink(link) for link in (process / "fd").iterdir())
            if any(link in inodes for link in links):
                words = (process / "cmdline").read_bytes().split(b"\0")
                command = b" ".join(words).decode(errors="replace").strip()
                return f"pid {process.name} ({command[:200]})"
    return "another process"


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    return inodes
