"""One side of a connection that goes through the faulty proxy."""

import asyncio
from collections.abc import Awaitable, Callable
from socket import IPPROTO_TCP, SHUT_WR, SO_LINGER, SOL_SOCKET, TCP_NODELAY, socket
from struct import pack

_PIECE_BYTES = 1 << 16
_LINGER_RESET = pack("ii", 1, 0)  # on, for no time: what is unsent is dropped and RST follows
_LINGER_OFF = pack("ii", 0, 0)

Gate = Callable[[], Awaitable[None]]
Sink = Callable[[bytes], Awaitable[None]]


class Wire:
    """A socket whose closing resets the peer, unless the connection has ended well.

    All that comes, an end and a break too, is told only when `gate` has let it pass.
    """

    def __init__(self, endpoint: socket, gate: Gate):
        endpoint.setblocking(False)
        endpoint.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        endpoint.setsockopt(SOL_SOCKET, SO_LINGER, _LINGER_RESET)
        self._endpoint = endpoint
        self._gate = gate
        self._ahead = b""

    async def connect(self, address: tuple[str, int]) -> None:
        await asyncio.get_running_loop().sock_connect(self._endpoint, address)

    async def send(self, piece: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._endpoint, piece)

    async def at_end(self) -> bool:
        """Wait for what comes next; whether that is the end."""
        if self._ahead:
            return False
        try:
            self._ahead = await asyncio.get_running_loop().sock_recv(self._endpoint, _PIECE_BYTES)
        except OSError:
            await self._gate()
            raise
        await self._gate()
        return not self._ahead

    async def some(self, limit: int = _PIECE_BYTES) -> bytes:
        """What comes next. Raises EOFError at the end."""
        if await self.at_end():
            raise EOFError
        piece, self._ahead = self._ahead[:limit], self._ahead[limit:]
        return piece

    async def until(self, end: bytes) -> bytes:
        """All that comes up to `end`, with it. Raises EOFError."""
        read = b""
        while end not in read:
            read += await self.some()
        found, _, rest = read.partition(end)
        self._ahead = rest + self._ahead
        return found + end

    def end_sending(self) -> None:
        """Tell the peer that nothing more comes, and go on listening to it."""
        self._endpoint.shutdown(SHUT_WR)

    def ended_well(self) -> None:
        """From here on, closing is no reset."""
        self._endpoint.setsockopt(SOL_SOCKET, SO_LINGER, _LINGER_OFF)

    def close(self) -> None:
        self._endpoint.close()


async def pass_all(source: Wire, sink: Sink) -> None:
    """All that comes until the source ends."""
    while not await source.at_end():
        await sink(await source.some())
