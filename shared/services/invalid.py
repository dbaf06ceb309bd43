"""From pydantic's errors to ours: one sentence that names each field, as the client sent it."""

import re
from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.errors import AtelierError, Invalid
from shared.neutral import NOT_SERVED

_SHOWN = 10
OF_UNION = re.compile(r"str|(?:list|dict)\[.+\]")
"""What pydantic puts into a path for each of the kinds that a field may be of."""
_EXPECTED = "input should be "

Fault = TypeVar("Fault", bound=AtelierError)
Place = tuple[str | int, ...]


class UnknownField(Invalid):
    """The request has a field that does not exist."""

    code = "unknown_field"


class FieldNotServed(Invalid):
    """The request has a field, or a value of it, that OpenAI has and nothing here serves."""

    code = NOT_SERVED


_KINDS: dict[str, type[Invalid]] = {"extra_forbidden": UnknownField, NOT_SERVED: FieldNotServed}


def invalid(error: ValidationError, *where: str, names: Mapping[str, str] | None = None) -> Invalid:
    """An Invalid that names every faulty field below `where`, the first one as `param`.

    `names` is what the client calls some of the fields, where that differs.
    """
    said: dict[str, list[str]] = {}
    faults = _by_place(error)
    for place, each in faults.items():
        path = _path(place)
        below = [(names or {}).get(path, path)] if path else []
        said[_path((*where, *below))] = [_say(fault) for fault in each]
    sentences = [_sentence(path, each) for path, each in said.items()]
    more = len(sentences) - _SHOWN
    message = "; ".join(sentences[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    kind = _KINDS.get(next(iter(faults.values()))[0]["type"], Invalid)
    return kind(message, param=next(iter(said)) or None)


def _by_place(error: ValidationError) -> dict[Place, list[ErrorDetails]]:
    """The faults of each field. Of one that may be of several kinds, and of which a part is wrong,
    those of the part: it was meant to be of the kind that has such parts.
    """
    found: dict[Place, list[ErrorDetails]] = {}
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        found.setdefault(_place(fault), []).append(fault)
    wholes = {place[:length] for place in found for length in range(len(place))}
    return {place: faults for place, faults in found.items() if place not in wholes}


def _place(fault: ErrorDetails) -> Place:
    parts = fault["loc"]
    # The name of a field that is too much, or missing, is one, whatever it looks like.
    names = parts[-1:] if fault["type"] in {"extra_forbidden", "missing"} else ()
    above = parts[: len(parts) - len(names)]
    return (*(part for part in above if not _is_of_union(part)), *names)


def _is_of_union(part: str | int) -> bool:
    return isinstance(part, str) and OF_UNION.fullmatch(part) is not None


def _path(parts: Place) -> str:
    """`("items", 3, "params", "label")` as `items[3].params.label`."""
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _sentence(path: str, said: list[str]) -> str:
    first, *others = dict.fromkeys(said)
    either = " or ".join([first, *(other.removeprefix(_EXPECTED) for other in others)])
    return f"{path}: {either}" if path else either


def as_sent(error: Fault, names: Mapping[str, str] | None) -> Fault:
    """The fault, said of the field as the client calls it."""
    ours = error.param or ""
    if names and ours in names:
        error.args = (names[ours] + error.message.removeprefix(ours),)
        error.param = names[ours]
    return error


def _say(fault: ErrorDetails) -> str:
    if fault["type"] == "extra_forbidden":
        return "there is no such field"
    message = fault["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
