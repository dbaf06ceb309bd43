"""Each request in a context of its own, which asks the database for the request's tenant alone."""

from collections.abc import Iterable, Iterator
from contextvars import Context, copy_context
from typing import Any

from shared import wall


class Walled:
    """A WSGI application, run so. It asks for nobody until it is known who sent the request."""

    def __init__(self, application: Any):
        self.application = application

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        context = copy_context()
        context.run(wall.ask_for, wall.NOBODY)
        return _Parts(context.run(self.application, environ, start_response), context)


class _Parts:
    """The parts of an answer, made in the request's context: a stream asks the database between
    two of them, when the request itself is long over.
    """

    def __init__(self, parts: Iterable[bytes], context: Context):
        self._parts = parts
        self._next = iter(parts)
        self._context = context

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._context.run(next, self._next)

    def close(self) -> None:
        if hasattr(self._parts, "close"):
            self._context.run(self._parts.close)
