"""A receiver of webhooks in tests, a real server on 127.0.0.1 that behaves as the test says; and
names that lead where the test says.
"""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event
from typing import Any

import pytest

from shared.egress import Answer, post
from tests.threads import beside

HERE = "127.0.0.1/32"
"""The network to allow for receivers of tests, and for nothing else."""

NAME = "hooks.example.com"


class Receiver:
    """Takes one connection after another, and keeps every request that it read."""

    def __init__(self, tls: ssl.SSLContext | None):
        self.tls = tls
        self.heads: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.over = Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.02)
        self.port: int = self._listener.getsockname()[1]

    def serve(self, behaviour: "Behaviour") -> None:
        """Until the test is over; a client that hangs up ends only its own connection."""
        with self._listener:
            while not self.over.is_set():
                with suppress(OSError):
                    connection, _ = self._listener.accept()
                    self.connections += 1
                    with connection:
                        connection.settimeout(10)
                        self._talk(connection, behaviour)

    def _talk(self, connection: socket.socket, behaviour: "Behaviour") -> None:
        if self.tls is None:
            behaviour(self, connection)
            return
        with self.tls.wrap_socket(connection, server_side=True) as wrapped:
            behaviour(self, wrapped)

    def read(self, connection: socket.socket) -> None:
        """Read and keep one request."""
        with connection.makefile("rb") as source:
            head = ""
            while not head.endswith("\r\n\r\n"):
                line = source.readline().decode("ascii")
                if not line:
                    raise ConnectionError("the client hung up")
                head += line
            fields = [line.split(": ", 1) for line in head.strip().split("\r\n")[1:]]
            headers = {name.lower(): value for name, value in fields}
            body = source.read(int(headers["content-length"]))
            if len(body) < int(headers["content-length"]):
                raise ConnectionError("the client hung up")
        self.heads.append(head.lower())
        self.headers.append(headers)
        self.bodies.append(body)


Behaviour = Callable[[Receiver, socket.socket], None]


@contextmanager
def receiving(behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver that behaves so while the block runs."""
    receiver = Receiver(tls)
    with beside(lambda: receiver.serve(behaviour), receiver.over.set):
        yield receiver


def answers(body: bytes = b"", status: str = "200 OK", *headers: str) -> Behaviour:
    """Reads a request and gives this answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]

    def behave(receiver: Receiver, connection: socket.socket) -> None:
        receiver.read(connection)
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    return behave


def drips(start: bytes, drop: bytes, every_s: float = 0.02) -> Behaviour:
    """Reads a request, says `start`, and then `drop` again and again for as long as it can."""

    def behave(receiver: Receiver, connection: socket.socket) -> None:
        receiver.read(connection)
        connection.sendall(start)
        while not receiver.over.wait(every_s):
            connection.sendall(drop)

    return behave


def is_silent(receiver: Receiver, connection: socket.socket) -> None:
    """Neither reads nor writes, and keeps the connection."""
    receiver.over.wait()


def reads_slowly(receiver: Receiver, connection: socket.socket) -> None:
    """Makes room for a little more every moment; 50 MB would last ten seconds."""
    while not receiver.over.wait(0.02):
        connection.recv(100_000)


class Names:
    """Stands for DNS: gives these answers in turn, and keeps what was asked."""

    def __init__(self, *answers: list[str]):
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        if not self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [self.entry(address, port) for address in self.answers.pop(0)]

    def entry(self, address: str, port: int) -> Any:
        if ":" in address:
            return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
        return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


def resolve(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> Names:
    names = Names(*answers)
    monkeypatch.setattr("shared.egress.socket.getaddrinfo", names)
    return names


def send(receiver: Receiver, host: str = "127.0.0.1", timeout_s: float = 10) -> Answer:
    """A request to that receiver, in the clear unless it speaks TLS."""
    scheme = "http" if receiver.tls is None else "https"
    return post(f"{scheme}://{host}:{receiver.port}/hook", b"{}", {}, timeout_s=timeout_s)
