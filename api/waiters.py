"""Threads of this process that wait within a request: no more than leave some to answer others."""

import threading
from types import TracebackType

from shared.errors import Retryable

MOST = 64
"""Of a process of the API, which has 72 threads."""


class TooManyWaiting(Retryable):
    """As many calls wait for models as may. Try again in a moment, or submit a job."""

    code = "busy"


class Place:
    """One waiter's, from `take` until it leaves; to leave again changes nothing."""

    def __init__(self) -> None:
        self._is_taken = True

    def __enter__(self) -> "Place":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()

    def leave(self) -> None:
        global _count
        with _lock:
            _count -= self._is_taken
            self._is_taken = False


_lock = threading.Lock()
_count = 0


def take() -> Place:
    """A place for one more. Raises TooManyWaiting."""
    global _count
    with _lock:
        if _count >= MOST:
            raise TooManyWaiting
        _count += 1
    return Place()


def count() -> int:
    """How many wait."""
    return _count
