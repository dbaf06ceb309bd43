"""Waiting for what happens elsewhere: look, and look again."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

_PAUSE_S = 0.05


def until(look: Callable[[], Found], within_s: float = 60) -> Found:
    """What `look` gives, as soon as that is true. Raises TimeoutError."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{look.__qualname__} did not hold within {within_s} s")
        time.sleep(_PAUSE_S)
    return found
