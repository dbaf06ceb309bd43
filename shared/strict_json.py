"""JSON as the standard has it, which Python's own reader goes beyond."""

import json
from typing import Any


def loads(text: str | bytes, **options: Any) -> Any:
    """A JSON value, without NaN and Infinity, and no deeper than can be read. Raises ValueError."""
    try:
        return json.loads(text, parse_constant=_refuse, **options)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")
