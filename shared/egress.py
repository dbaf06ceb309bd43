"""Requests that leave the installation to addresses that clients named, such as webhook receivers.

The name is resolved once, every address that it leads to is judged, and the connection goes to one
of those: a name that changes its mind meanwhile changes nothing.
"""

import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Any

import httpcore
import httpx

from shared.destinations import check_address, host_of, parse
from shared.errors import EgressBlocked, Invalid, Unreachable

ANSWER_BYTES = 1_024
CONNECT_S = 5.0
PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Answer:
    """What a receiver said: its status, and the beginning of the body as text."""

    status: int
    body: str


def check_url(url: str, *, param: str) -> None:
    """Refuse a URL that can never be called, before it is kept.

    Asks no DNS: `post` judges the addresses behind a name. Raises Invalid, naming `param`.
    """
    try:
        parse(url)
    except EgressBlocked as error:
        raise Invalid(error.message, param=param) from None


def post(url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float = 20) -> Answer:
    """Send a body, and return the answer whatever its status; redirects are not followed.

    All of it, from the name's resolution to the answer's end, takes at most `timeout_s`.
    Raises EgressBlocked if the address must not be called, Unreachable if there is no answer.
    """
    deadline = time.monotonic() + timeout_s
    parsed = parse(url)
    sent = httpx.Headers(headers)
    sent.update({"Host": parsed.netloc.decode("ascii"), "Connection": "close"})
    sent["Accept-Encoding"] = "identity"  # what comes is never decompressed
    authorities = trusted_authorities()
    target = httpcore.URL(
        scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path
    )
    try:
        backend = _PinnedBackend(*_resolve(parsed, deadline), deadline)
        with (
            httpcore.ConnectionPool(ssl_context=authorities, network_backend=backend) as pool,
            pool.stream("POST", target, headers=sent.raw, content=body) as response,
        ):
            return Answer(response.status, _beginning(response.iter_stream()))
    except (OSError, httpcore.RemoteProtocolError) as error:
        raise Unreachable(f"{host_of(parsed)} cannot be reached: {_reason(error)}.") from error


@cache
def trusted_authorities() -> ssl.SSLContext:
    """Those of the file that SSL_CERT_FILE names, for a network with its own; else the public."""
    return httpx.create_ssl_context()


def _resolve(url: httpx.URL, deadline: float) -> tuple[int, Any]:
    """The family and the address to connect to, judged with all others of the name."""
    # getaddrinfo knows no time limit: whoever waits for it gives up, and it ends when it ends.
    resolver = ThreadPoolExecutor(max_workers=1)
    try:
        port = url.port or PORTS[url.scheme]
        found = resolver.submit(
            socket.getaddrinfo, host_of(url), port, type=socket.SOCK_STREAM
        ).result(_left(deadline))
    finally:
        resolver.shutdown(wait=False)
    # All of them: a name that leads to a forbidden address beside a public one is a trick.
    for *_, address in found:
        check_address(ip_address(address[0]), url)
    return found[0][0], found[0][4]


def _left(deadline: float) -> float:
    """Seconds until the deadline. Raises TimeoutError where none are left."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _beginning(chunks: Iterable[bytes]) -> str:
    content = b""
    for chunk in chunks:
        content += chunk
        if len(content) >= ANSWER_BYTES:
            break
    # PostgreSQL keeps no NUL in a text.
    return (
        content[:ANSWER_BYTES].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    )


def _reason(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "no whole answer in time"
        case socket.gaierror():
            return "its name is not known"
        case ssl.SSLCertVerificationError():
            return f"its certificate is refused ({error.verify_message.rstrip('.')})"
        case ssl.SSLError():
            return f"TLS failed ({error.reason})"
        case OSError():
            return error.strerror or "the connection failed"
        case _:
            return "what it says is not HTTP/1.1"


class _PinnedBackend(httpcore.NetworkBackend):
    """Connects to one address whatever host it is asked for; TLS still asks for the host."""

    def __init__(self, family: int, address: Any, deadline: float):
        self.family = family
        self.address = address
        self.deadline = deadline

    def connect_tcp(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        connection = socket.socket(self.family, socket.SOCK_STREAM)
        try:
            connection.settimeout(min(CONNECT_S, _left(self.deadline)))
            connection.connect(self.address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            connection.close()
            raise
        return _TimedStream(connection, self.deadline)


class _TimedStream(httpcore.NetworkStream):
    """A connection on which nothing waits beyond the deadline of the whole exchange.

    httpcore's own gives every read and write its full time anew, and a receiver that takes or gives
    a byte at a time would hold it for as long as it likes.
    """

    def __init__(self, connection: socket.socket, deadline: float):
        self.connection = connection
        self.deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.connection.settimeout(_left(self.deadline))
        return self.connection.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        rest = memoryview(buffer)
        while rest:
            self.connection.settimeout(_left(self.deadline))
            try:
                rest = rest[self.connection.send(rest) :]
            except OSError as error:
                # httpcore then reads: a receiver may answer and close before it has read it all.
                raise httpcore.WriteError from error

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            self.connection.settimeout(min(CONNECT_S, _left(self.deadline)))
            self.connection = ssl_context.wrap_socket(
                self.connection, server_hostname=server_hostname
            )
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        self.connection.close()

    def get_extra_info(self, info: str) -> Any:
        return None
