"""The wish to stop: SIGINT, SIGTERM and SIGHUP, turned into something that a loop can ask for."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# `timeout` and `make` may send one and the same wish twice; a person who means it needs longer.
IMPATIENCE_S = 1.0


class StopRequest:
    """Notes signals while it is entered (in the main thread); afterwards all is as it was."""

    def __init__(self) -> None:
        self._first_at: float | None = None
        self._impatient = False
        self._raises = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        for number in SIGNALS:
            before = signal.getsignal(number)
            # `nohup` has SIGHUP ignored, and means it.
            if before is not signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def asked(self) -> bool:
        return self._first_at is not None

    def impatient(self) -> bool:
        """Whether a second signal came: whoever waits should wait no longer."""
        return self._impatient

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Inside, the first signal raises KeyboardInterrupt: for code that asks nobody."""
        self._raises = True
        try:
            if self.asked():
                raise KeyboardInterrupt
            yield
        finally:
            self._raises = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first_at is None:
            self._first_at = now
            if self._raises:
                raise KeyboardInterrupt
        elif now - self._first_at >= IMPATIENCE_S:
            self._impatient = True
