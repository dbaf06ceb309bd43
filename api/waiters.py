"""Threads of this process that wait within a request: no more than leave some to answer others.

A call waits for seconds, whoever follows a training for hours: neither may take the other's places.
"""

import math
import threading
import time
from types import TracebackType

from api.turns import TURNS
from shared.errors import Retryable

_FOR_THE_LAST_S = 3.0
"""What is called off before a process is killed has so long for its answer."""


class TooManyWaiting(Retryable):
    """As many calls wait for models as may. Try again in a moment, or submit a job."""

    code = "busy"


class TooManyFollowing(Retryable):
    """As many streams of events are followed as may. Try again later, or read the list of events
    now and then.
    """

    code = "busy"
    retry_after_s = 15


class Place:
    """One waiter's, from `take` until it leaves; to leave again changes nothing."""

    def __init__(self, places: "Places") -> None:
        self._places = places
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
        with self._places.lock:
            self._places.taken -= self._is_taken
            self._is_taken = False


class Places:
    """Places for waiters of one kind."""

    def __init__(self, most: int, refusal: type[Retryable]):
        self.most = most
        self.taken = 0
        self.lock = threading.Lock()
        self._refusal = refusal

    def take(self) -> Place:
        """A place for one more, whose turn to compute is over. Raises the refusal."""
        with self.lock:
            if self.taken >= self.most:
                raise self._refusal
            self.taken += 1
        TURNS.end()
        return Place(self)


class Ending:
    """Whether this process is to end, and when it must call off what it still waits for."""

    def __init__(self) -> None:
        self.has_begun = False
        self._due_at = math.inf

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._due_at

    def begin(self, killed_in_s: float) -> None:
        """Say so. A signal's handler may: no lock is taken."""
        self._due_at = time.monotonic() + max(0.0, killed_in_s - _FOR_THE_LAST_S)
        self.has_begun = True


ENDING = Ending()
CALLS = Places(64, TooManyWaiting)
"""For calls of `/v1` that wait for a model."""
FOLLOWERS = Places(16, TooManyFollowing)
"""For streams of a job's events. A process of the API has eight threads more than both together."""
