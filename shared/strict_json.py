"""JSON as the standard has it, which Python's own reader goes beyond."""

import json
from typing import Any


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


# Made once: `json.loads` would make another for each of a million lines.
_STRICT = json.JSONDecoder(parse_constant=_refuse)


def loads(text: str | bytes) -> Any:
    """A JSON value, without NaN and Infinity, and no deeper than can be read. Raises ValueError."""
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text), "surrogatepass")
        return _STRICT.decode(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
