"""TLS in front of engines that speak in the clear, and certificates for it."""

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.ceph import in_ci
from tests.threads import beside

_SSL_REQUEST_BYTES = 8
_CHUNK_BYTES = 1 << 16


def make_certificate(folder: Path, name: str) -> Path:
    """A certificate for one name, with its key, signed by itself; beside it one without the key."""
    if shutil.which("openssl") is None:
        (pytest.fail if in_ci() else pytest.skip)("openssl is not installed")
    path = folder / "both.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=test", "-addext", f"subjectAltName=DNS:{name}"]
    uses = ["-addext", "keyUsage=critical,digitalSignature,keyCertSign", "-days", "2"]
    files = ["-keyout", path, "-out", path.with_suffix(".crt")]
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *names, *uses, *files], check=True, capture_output=True
    )
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


class _Front:
    """Takes TLS, and passes on what was in it to an engine."""

    def __init__(self, url: str, context: ssl.SSLContext):
        there = urlsplit(url)
        self._engine = (there.hostname, there.port)
        self._asks_first = there.scheme.startswith("postgresql")
        self._context = context
        self._serving: set[asyncio.Task[None]] = set()
        self._began = threading.Event()

    def run(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._began.set()
        await self._ended.wait()
        server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def port(self) -> int:
        self._began.wait()
        return self._port

    def stop(self) -> None:
        self._began.wait()
        self._loop.call_soon_threadsafe(self._ended.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            # A client that refuses our certificate leaves, or speaks no TLS.
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._pass_on(reader, writer)
        finally:
            writer.transport.abort()
            self._serving.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._asks_first:  # PostgreSQL's clients ask in the clear whether there is TLS
            await reader.readexactly(_SSL_REQUEST_BYTES)
            writer.write(b"S")
        await writer.start_tls(self._context)
        from_engine, to_engine = await asyncio.open_connection(*self._engine)
        try:
            await asyncio.gather(_pass(reader, to_engine), _pass(from_engine, writer))
        finally:
            to_engine.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while received := await reader.read(_CHUNK_BYTES):
        writer.write(received)
        await writer.drain()
    writer.close()


@contextmanager
def fronted(url: str, certificate: Path) -> Iterator[int]:
    """The port on loopback at which an engine is reached over TLS, and in no other way."""
    front = _Front(url, server_context(certificate))
    with beside(front.run, front.stop):
        yield front.port()
