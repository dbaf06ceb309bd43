"""JSON as the standard has it, which Python's own reader goes beyond."""

import json
from typing import Any

_BYTE_ORDER_MARK = "\ufeff"


class NotJson(ValueError):
    """A text is not JSON; says where."""


class GivenTwice(ValueError):
    """An object has two fields of one name, which readers take differently."""

    def __init__(self, name: str):
        super().__init__(f"{name}: stands twice in one object; give it once")
        self.name = name


def _refuse(name: str) -> None:
    raise NotJson(f"{name} is not a number of JSON")


def _once(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(fields)
    if len(made) == len(fields):
        return made
    names = [name for name, _ in fields]
    raise GivenTwice(next(name for name in names if names.count(name) > 1))


# Made once: `json.loads` would make another for each of a million lines.
_STRICT = json.JSONDecoder(parse_constant=_refuse)
_ONCE = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_once)


def loads(text: str | bytes) -> Any:
    """A JSON value in UTF-8, without NaN and Infinity, and no deeper than can be read. Of fields of
    one name the last counts. Raises ValueError.
    """
    return _read(_STRICT, text)


def loads_once(text: str | bytes) -> Any:
    """Such a value in which no field stands twice: half as fast again. Raises ValueError."""
    return _read(_ONCE, text)


def _read(decoder: json.JSONDecoder, text: str | bytes) -> Any:
    try:
        if isinstance(text, bytes):
            text = text.decode().removeprefix(_BYTE_ORDER_MARK)
        return decoder.decode(text)
    except RecursionError:
        raise NotJson("nested too deep") from None
    except UnicodeDecodeError as error:
        raise NotJson(f"byte {error.start + 1} is not UTF-8; save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise NotJson(_told(error)) from None
    except (NotJson, GivenTwice):
        raise
    except ValueError:
        raise NotJson("a number has too many digits") from None


def _told(error: json.JSONDecodeError) -> str:
    if not error.doc.strip():
        return "it is empty"
    if "\0" in error.doc:
        return "it holds the character NUL, as UTF-16 does; save it as UTF-8"
    line = f"line {error.lineno}, " if "\n" in error.doc else ""
    return f"{line}column {error.colno}: {error.msg[0].lower()}{error.msg[1:]}"
