"""Turns of this process's requests to compute: one interpreter runs one thread at a time, and the
more of them want it at once, the more of its time goes into passing it from one to the other.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """So many requests compute at once, each for so long at most; others wait in their order.

    Whoever has not ended by then waits for something else than the interpreter, or is a long one:
    it goes on, and the turn goes to the next.
    """

    def __init__(self, most: int, longest_s: float):
        self._most = most
        self._longest_s = longest_s
        self._lock = threading.Lock()
        self._ends_at: dict[int, float] = {}
        """By thread: when its turn is over at the latest."""
        self._waiting: deque[tuple[int, threading.Lock]] = deque()
        """By thread: what is released when its turn has come."""

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for this thread's turn; it is over when the block ends, or before."""
        self._take()
        try:
            yield
        finally:
            self.end()

    def end(self) -> None:
        """This thread's turn is over, if it has one: it has ended, or is about to wait."""
        with self._lock:
            if self._ends_at.pop(threading.get_ident(), None) is not None:
                self._pass_on()

    def _take(self) -> None:
        comes = threading.Lock()
        comes.acquire()
        with self._lock:
            self._waiting.append((threading.get_ident(), comes))
            self._pass_on()
        while not comes.acquire(timeout=self._longest_s):
            with self._lock:
                self._pass_on()

    def _pass_on(self) -> None:
        """Give every turn that is free, or over, to the next in line."""
        now = time.monotonic()
        if len(self._ends_at) >= self._most:
            self._ends_at = {thread: end for thread, end in self._ends_at.items() if end > now}
        while self._waiting and len(self._ends_at) < self._most:
            thread, comes = self._waiting.popleft()
            self._ends_at[thread] = now + self._longest_s
            comes.release()


TURNS = Turns(2, longest_s=0.025)
