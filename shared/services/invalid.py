"""From pydantic's errors to ours: one sentence that names each field."""

from pydantic import ValidationError

from shared.errors import Invalid

_SHOWN = 10


class UnknownField(Invalid):
    """The request has a field that does not exist."""

    code = "unknown_field"


def invalid(error: ValidationError, *where: str) -> Invalid:
    """An Invalid that names every faulty field below `where`, the first one as `param`."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [
        _sentence(_path((*where, *fault["loc"])), _say(fault["type"], fault["msg"]))
        for fault in faults
    ]
    more = len(shown) - _SHOWN
    message = "; ".join(shown[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    unknown = faults[0]["type"] == "extra_forbidden"
    kind = UnknownField if unknown else Invalid
    return kind(message, param=_path((*where, *faults[0]["loc"])) or None)


def _sentence(path: str, said: str) -> str:
    return f"{path}: {said}" if path else said


def _path(parts: tuple[str | int, ...]) -> str:
    """`("items", 3, "params", "label")` as `items[3].params.label`."""
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _say(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such field"
    return (
        message.removeprefix("Value error, ")[:1].lower()
        + message.removeprefix("Value error, ")[1:]
    )
