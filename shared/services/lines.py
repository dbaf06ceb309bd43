"""Lines of an input file: each an item, in the native form or as a request to an endpoint."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

from pydantic import ValidationError

from shared import strict_json
from shared.db import reading
from shared.endpoint import Endpoint, EndpointBody
from shared.errors import Invalid, TooLarge
from shared.services import files
from shared.services.invalid import UnknownField, invalid
from shared.services.items import MOST_FAULTS, Fault, InvalidItems, Items, Wanted, within
from shared.services.submissions import MAX_ITEMS
from shared.settings import settings
from shared.storage import CHUNK_BYTES, storage

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MOST_BYTES = 16 * 1024 * 1024
"""Of one line: more would not be a request but an accident."""

Read = Callable[[dict[str, Any], int], Wanted]
"""Turns the object of a line, with its number, into an item. Raises Invalid."""


def lines_of(
    source: IO[bytes], check: Callable[[], None] | None = None
) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers; blank ones and a byte-order mark are passed over.

    No more of a line is read than a request may have. Raises InvalidItems for a longer one, and
    what `check` raises, which is called every thousand lines.
    """
    number = 0
    while raw := source.readline(_MOST_BYTES + 1):
        number += 1
        if check is not None and number % 1000 == 0:
            check()
        if len(raw) > _MOST_BYTES:
            error = Invalid(f"longer than {_MOST_BYTES} bytes")
            raise InvalidItems([Fault(_at(number, error), number)])
        line = raw.removeprefix(_BYTE_ORDER_MARK).strip()
        if line:
            yield number, line


@contextmanager
def items_of_file(tenant_id: str, file_id: str) -> Iterator[Items]:
    """The items of a native input file that is no longer than a request may be, to be looked at
    before anything is accepted. Raises NotFound or Invalid.
    """
    with reading() as session:
        file = files.get(session, tenant_id, file_id, param="input_file")
    if file.bytes > settings().body_limit:
        raise _too_long()
    with tempfile.TemporaryFile() as scratch:
        with storage().open(file.key) as source:
            shutil.copyfileobj(source, scratch, CHUNK_BYTES)
        yield _FileItems(scratch)


class _FileItems:
    """The items of a short file, each read when it is asked for."""

    def __init__(self, source: IO[bytes]):
        self._source = source
        self._count = sum(1 for _ in self._lines())
        if self._count == 0:
            raise no_lines("input_file")
        if self._count > MAX_ITEMS:
            raise _too_long()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Wanted | Fault]:
        return wanted(self._lines(), MAX_ITEMS, native, "input_file")

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        self._source.seek(0)
        return lines_of(self._source)


def _too_long() -> Invalid:
    return Invalid(
        f"dry_run: takes a file of up to {MAX_ITEMS} lines and {settings().body_limit} bytes, "
        "because its lines are read at once; give a shorter file of some of them",
        param="dry_run",
    )


def wanted(
    lines: Iterable[tuple[int, bytes]], most: int, read: Read, field: str
) -> Iterator[Wanted | Fault]:
    """The items of the JSONL file that `field` names. Raises InvalidItems past `most` of them."""
    for count, (number, line) in enumerate(lines, 1):
        if count > most:
            error = TooLarge(f"{field}: more than {most} lines that are not blank", param=field)
            raise InvalidItems([Fault(error, number)])
        try:
            yield read(_object(line), number)
        except Invalid as error:
            yield Fault(_at(number, error), number)


def _at(number: int, error: Invalid) -> Invalid:
    where = f"line {number}"
    if error.param is not None:
        return within(where, error)
    return type(error)(f"{where}: {error.message}", param=where)


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = strict_json.loads(line)
    except ValueError as error:
        raise Invalid(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Invalid("must be a JSON object")
    return value


def native(value: dict[str, Any], number: int) -> Wanted:
    """`{"custom_id", "params"}`."""
    _refuse_unknown(value, {"custom_id", "params"})
    return Wanted(_required(value, "params", dict), _custom_id(value), number)


class Requests:
    """`{"custom_id", "method", "url", "body"}`: lines of a batch, all for one model."""

    def __init__(self, endpoint: Endpoint, model: str, config: Mapping[str, Any]):
        self.endpoint = endpoint
        self.model = model
        self.config = config

    def __call__(self, value: dict[str, Any], number: int) -> Wanted:
        body = self._body(value)
        if body.model != self.model:
            raise Invalid(
                f"body.model: {body.model!r} is not the model of the lines before, "
                f"{self.model!r}; a batch has one",
                param="body.model",
            )
        if getattr(body, "stream", None):
            raise Invalid("body.stream: a line of a batch is not streamed", param="body.stream")
        try:
            items = body.params(self.config)
        except Invalid as error:
            raise within("body", error) from None
        if len(items) > 1:
            raise Invalid("body.prompt: give one prompt a line", param="body.prompt")
        custom_id = _required(value, "custom_id", str)
        return Wanted(items[0], custom_id, number, body.form(), "body", body.names(0))

    def _body(self, value: dict[str, Any]) -> EndpointBody:
        _refuse_unknown(value, {"custom_id", "method", "url", "body"})
        if value.get("method", "POST") != "POST":
            raise Invalid("method: must be POST", param="method")
        if value.get("url") != self.endpoint.path:
            raise Invalid(
                f"url: must be {self.endpoint.path}, the endpoint of the batch", param="url"
            )
        try:
            return self.endpoint.body.model_validate(_required(value, "body", dict))
        except ValidationError as error:
            raise invalid(error, "body") from None


def first_model(lines: Iterable[tuple[int, bytes]]) -> tuple[int, str]:
    """The model that the first request of a batch's input file names, and its line. Raises
    InvalidItems or Invalid when none does.
    """
    faults: list[Fault] = []
    for number, line in lines:
        try:
            return number, _model_of(_object(line))
        except Invalid as error:
            faults.append(Fault(_at(number, error), number))
        if len(faults) == MOST_FAULTS:
            break
    if faults:
        raise InvalidItems(faults)
    raise no_lines("input_file_id")


def _model_of(request: dict[str, Any]) -> str:
    body = _required(request, "body", dict)
    try:
        return str(_required(body, "model", str))
    except Invalid as error:
        raise within("body", error) from None


def no_lines(field: str) -> Invalid:
    """What is wrong with an empty file that `field` names."""
    return Invalid(f"{field}: it has no lines", param=field)


def _custom_id(value: dict[str, Any]) -> str | None:
    return None if value.get("custom_id") is None else _required(value, "custom_id", str)


_CALLED: dict[type[Any], str] = {dict: "an object", str: "a string"}


def _required(value: dict[str, Any], name: str, type_: type[Any]) -> Any:
    found = value.get(name)
    if not isinstance(found, type_):
        raise Invalid(f"{name}: must be {_CALLED[type_]}", param=name)
    return found


def _refuse_unknown(value: dict[str, Any], known: set[str]) -> None:
    for name in value:
        if name not in known:
            raise UnknownField(f"{name}: there is no such field", param=name)
