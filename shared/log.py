"""Logs: one line a record, with the ids of the request, job, item and lease it is about.

`about` names the ids for everything that is logged inside it, by whatever module. What is logged
inside `kept` is also remembered, so that a crash leaves a trace.
"""

import json
import logging
import re
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from time import gmtime
from typing import Any

from shared.settings import settings

_ids: ContextVar[dict[str, Any] | None] = ContextVar("ids", default=None)
_kept: ContextVar[deque[str] | None] = ContextVar("kept", default=None)


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""What PostgreSQL cannot store: NUL, and halves of surrogate pairs."""


_CONTROL = {code: repr(chr(code))[1:-1] for code in (*range(32), 127, 0x85, 0x2028, 0x2029)}
"""What could make one record look like two, as it is written in Python."""


def storable(line: str) -> str:
    """A text without what PostgreSQL cannot store."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", line)


@contextmanager
def about(**ids: Any) -> Iterator[None]:
    """Name the ids (request, job, items, lease) of all that is logged in the block."""
    token = _ids.set({**(_ids.get() or {}), **ids})
    try:
        yield
    finally:
        _ids.reset(token)


@contextmanager
def kept(lines: deque[str]) -> Iterator[None]:
    """Remember the lines that are logged in the block."""
    token = _kept.set(lines)
    try:
        yield
    finally:
        _kept.reset(token)


def begin(**ids: Any) -> None:
    """Name the ids of what this thread does from now on, and of nothing that it did before."""
    _ids.set(ids)


def id_of(noun: str) -> str | None:
    """The id of the request, job or lease that runs, if it is named."""
    return (_ids.get() or {}).get(noun)


def tail() -> str:
    """The lines of the innermost `kept` block so far."""
    return "\n".join(_kept.get() or ())


def set_up() -> None:
    """Send the process's log to stderr in the form that the settings name."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(JsonLines() if settings().log_format == "json" else Lines())
    logging.basicConfig(level=logging.INFO, handlers=[stream, Keeping()], force=True)


class Lines(logging.Formatter):
    """For people: time in UTC, level, module, message, ids."""

    converter = gmtime  # type: ignore[assignment]
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        line = super().formatMessage(record).translate(_CONTROL)
        ids = " ".join(f"{name}={value}" for name, value in (_ids.get() or {}).items())
        return f"{line} [{ids}]" if ids else line


class JsonLines(logging.Formatter):
    """For machines: one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **(_ids.get() or {}),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


class Keeping(logging.Handler):
    """Remembers lines where `kept` asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(Lines())

    def emit(self, record: logging.LogRecord) -> None:
        lines = _kept.get()
        if lines is not None:
            lines.append(storable(self.format(record)))
