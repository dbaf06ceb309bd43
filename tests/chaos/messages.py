"""Requests and answers of HTTP/1.1 on a wire: where each ends, and how they are passed on."""

from tests.chaos.wire import Sink, Wire, pass_all

_LINE_END = b"\r\n"
_WELCOME = b"HTTP/1.1 100 Continue\r\n\r\n"
_ERROR_BODY = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>InternalError</Code><Message>The proxy made this error.</Message></Error>"
)
_ERROR_HEAD = (
    b"HTTP/1.1 500 Internal Server Error\r\n"
    b"Content-Type: application/xml\r\n"
    b"Content-Length: %d\r\n\r\n" % len(_ERROR_BODY)
)


class _Message:
    """The lines of a message before its body."""

    def __init__(self, text: bytes):
        self.text = text
        first, *lines = text.decode("latin-1").strip().split("\r\n")
        self.words = first.split(" ", 2)
        parted = (line.partition(":") for line in lines)
        self.fields = {name.lower(): value.strip().lower() for name, _, value in parted}

    @property
    def is_chunked(self) -> bool:
        return self.fields.get("transfer-encoding", "").endswith("chunked")

    @property
    def length(self) -> int | None:
        """The bytes of its body, where its head says so."""
        length = self.fields.get("content-length")
        return None if length is None else int(length)


class Request(_Message):
    """What a client asks."""

    @property
    def method(self) -> str:
        return self.words[0]

    @property
    def waits_for_welcome(self) -> bool:
        """Whether its body comes only after the answer 100."""
        return self.fields.get("expect") == "100-continue"


class Answer(_Message):
    """What the engine says to it."""

    @property
    def status(self) -> int:
        return int(self.words[1])


async def next_request(client: Wire) -> Request:
    """The next request, up to its body. Raises EOFError."""
    return Request(await client.until(2 * _LINE_END))


async def drop_request_body(request: Request, client: Wire) -> None:
    """Read a request to its end, as if to do what it asks."""
    if request.waits_for_welcome:
        await client.send(_WELCOME)
    await _pass_request_body(request, client, _nowhere)


async def pass_request(request: Request, client: Wire, engine: Wire) -> Answer:
    """Pass a request, and what the engine says while it comes. Gives the answer's head."""
    await engine.send(request.text)
    is_body_held = request.waits_for_welcome
    if not is_body_held:
        await _pass_request_body(request, client, engine.send)
    answer = await _next_answer(engine)
    while answer.status < 200:
        await client.send(answer.text)
        if is_body_held and answer.status == 100:
            is_body_held = False
            await _pass_request_body(request, client, engine.send)
        answer = await _next_answer(engine)
    return answer


async def pass_answer(request: Request, answer: Answer, engine: Wire, client: Wire) -> None:
    """Pass the engine's last word on a request."""
    await client.send(answer.text)
    await _pass_answer_body(request, answer, engine, client.send)


async def drop_answer_body(request: Request, answer: Answer, engine: Wire) -> None:
    """Read an answer to its end, and keep it from the client."""
    await _pass_answer_body(request, answer, engine, _nowhere)


def is_last(request: Request, answer: Answer) -> bool:
    """Whether the connection ends with this answer."""
    has_end = answer.is_chunked or answer.length is not None or not _has_body(request, answer)
    return not has_end or answer.fields.get("connection") == "close"


async def send_error(request: Request, client: Wire) -> None:
    """The answer 500, as S3 words it."""
    await client.send(_ERROR_HEAD if request.method == "HEAD" else _ERROR_HEAD + _ERROR_BODY)


def _has_body(request: Request, answer: Answer) -> bool:
    return request.method != "HEAD" and answer.status not in {204, 304}


async def _next_answer(engine: Wire) -> Answer:
    return Answer(await engine.until(2 * _LINE_END))


async def _pass_request_body(request: Request, source: Wire, sink: Sink) -> None:
    if request.is_chunked:
        await _pass_chunks(source, sink)
    else:
        await _pass_bytes(request.length or 0, source, sink)


async def _pass_answer_body(request: Request, answer: Answer, source: Wire, sink: Sink) -> None:
    if not _has_body(request, answer):
        return
    if answer.is_chunked:
        await _pass_chunks(source, sink)
    elif answer.length is not None:
        await _pass_bytes(answer.length, source, sink)
    else:
        await pass_all(source, sink)


async def _pass_bytes(count: int, source: Wire, sink: Sink) -> None:
    while count > 0:
        piece = await source.some(count)
        await sink(piece)
        count -= len(piece)


async def _pass_chunks(source: Wire, sink: Sink) -> None:
    """Chunks, each after its size; an empty one; then fields up to a blank line."""
    size = -1
    while size != 0:
        line = await source.until(_LINE_END)
        await sink(line)
        size = int(line.split(b";")[0], 16)
        if size > 0:
            await _pass_bytes(size + len(_LINE_END), source, sink)
    while line != _LINE_END:
        line = await source.until(_LINE_END)
        await sink(line)


async def _nowhere(piece: bytes) -> None:
    """The sink of what is not passed on."""
