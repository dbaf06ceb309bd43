"""A faulty proxy for tests: it stands between real processes and a real engine.

An event loop in a thread of the test serves every connection by a task of its own, so that a
change of the fault can end whatever a connection is waiting for.
"""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from enum import Enum, auto
from random import Random
from socket import create_server, socket

from tests.chaos import messages
from tests.chaos.messages import Request
from tests.chaos.wire import Wire, pass_all
from tests.threads import beside


class Fault(Enum):
    """What goes wrong. The last three need a proxy that reads HTTP."""

    PASS = auto()
    """Nothing: all that comes is forwarded."""
    REFUSE = auto()
    """Every open connection is reset, and every new one as soon as it is made."""
    SILENT = auto()
    """Connections stay open and nothing passes, not even an end; when it is over all are reset."""
    SLOW = auto()
    """Connecting, and each piece that comes from either side, takes `delay_s` longer."""
    ERROR = auto()
    """A request is read and answered with 500; the engine never hears of it."""
    ERROR_AFTER = auto()
    """The engine does what is asked and answers, and the client is told 500."""
    LOST_ANSWER = auto()
    """The engine does what is asked and answers, and the client's connection is reset."""


_OF_REQUESTS = {Fault.ERROR, Fault.ERROR_AFTER, Fault.LOST_ANSWER}


class Proxy:
    """What a test holds of its proxy; all of it may be changed while connections are open."""

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, port: int, http: bool):
        self.delay_s = 0.1
        self.methods: Collection[str] | None = None  # whose requests meet faults; None: all
        self.share = 1.0  # of those requests, drawn with `random`
        self.random = Random(0)
        self.struck = 0  # connections, pieces and requests that met a fault
        self._loop = loop
        self._engine = (host, port)
        self._http = http
        self._fault = Fault.PASS
        self._connections: set[asyncio.Task[None]] = set()
        self._listener = create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        loop.add_reader(self._listener, self._accept)

    @property
    def fault(self) -> Fault:
        """What goes wrong now. Setting it returns when the connections that it ends are reset."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        if fault in _OF_REQUESTS and not self._http:
            raise ValueError(f"{fault} needs a proxy that reads HTTP")
        asyncio.run_coroutine_threadsafe(self._switch(fault), self._loop).result()

    def healed(self) -> None:
        """Let nothing go wrong from here on."""
        self.fault = Fault.PASS

    @contextmanager
    def showing(self, fault: Fault) -> Iterator[None]:
        """A fault while the block runs; then what was before."""
        before, self.fault = self.fault, fault
        try:
            yield
        finally:
            self.fault = before

    def close(self) -> None:
        """Listen no longer, reset what is open, and let the loop end."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _close(self) -> None:
        self._loop.remove_reader(self._listener)
        self._listener.close()
        await self._reset_connections()

    async def _switch(self, fault: Fault) -> None:
        before, self._fault = self._fault, fault
        if fault is Fault.REFUSE:
            self.struck += len(self._connections)
        if fault is Fault.REFUSE or (before is Fault.SILENT and fault is not Fault.SILENT):
            await self._reset_connections()

    async def _reset_connections(self) -> None:
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self) -> None:
        endpoint, _ = self._listener.accept()
        client = Wire(endpoint, self._gate)
        if self._fault is Fault.REFUSE:
            self.struck += 1
            client.close()
            return
        connection = self._loop.create_task(self._serve(client))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        # Not by the task itself: one that is cancelled before it begins closes nothing.
        connection.add_done_callback(lambda _: client.close())

    async def _gate(self) -> None:
        """Hold what comes for as long as the fault wants."""
        if self._fault in {Fault.SLOW, Fault.SILENT}:
            self.struck += 1
        if self._fault is Fault.SLOW:
            await asyncio.sleep(self.delay_s)
        if self._fault is Fault.SILENT:
            await asyncio.Event().wait()

    async def _serve(self, client: Wire) -> None:
        await self._gate()
        try:
            await (self._serve_requests(client) if self._http else self._serve_bytes(client))
            client.ended_well()
        except* (OSError, EOFError):
            pass  # What broke on one side breaks on the other: a wire closes with a reset.

    async def _serve_bytes(self, client: Wire) -> None:
        with closing(Wire(socket(), self._gate)) as engine:
            await engine.connect(self._engine)
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(_pump(client, engine))
                both_ways.create_task(_pump(engine, client))
            engine.ended_well()

    async def _serve_requests(self, client: Wire) -> None:
        """The engine gets a connection for each request, so none is used that it just gave up."""
        goes_on = True
        while goes_on and not await client.at_end():
            request = await messages.next_request(client)
            fault = self._fault_of(request)
            if fault is Fault.ERROR:
                await messages.drop_request_body(request, client)
                await messages.send_error(request, client)
                continue
            with closing(Wire(socket(), self._gate)) as engine:
                await engine.connect(self._engine)
                goes_on = await _exchange(request, client, engine, fault)

    def _fault_of(self, request: Request) -> Fault:
        """What this request meets."""
        fault = self._fault
        is_meant = self.methods is None or request.method in self.methods
        if fault not in _OF_REQUESTS or not is_meant or self.random.random() >= self.share:
            return Fault.PASS
        self.struck += 1
        return fault


@contextmanager
def proxy(host: str, port: int, *, http: bool = False) -> Iterator[Proxy]:
    """A proxy on a free port of loopback; at its end every connection is reset."""
    with closing(asyncio.new_event_loop()) as loop:
        faulty = Proxy(loop, host, port, http)
        with beside(loop.run_forever, faulty.close):
            yield faulty


async def _pump(source: Wire, into: Wire) -> None:
    await pass_all(source, into.send)
    into.end_sending()


async def _exchange(request: Request, client: Wire, engine: Wire, fault: Fault) -> bool:
    """Pass a request and what is to be of its answer. Gives whether another request may come."""
    answer = await messages.pass_request(request, client, engine)
    if fault is Fault.PASS:
        await messages.pass_answer(request, answer, engine, client)
        engine.ended_well()
        return not messages.is_last(request, answer)

    await messages.drop_answer_body(request, answer, engine)
    engine.ended_well()
    if fault is Fault.LOST_ANSWER:
        raise ConnectionResetError("the fault that was asked for")
    await messages.send_error(request, client)
    return True
