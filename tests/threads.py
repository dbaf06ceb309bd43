"""Threads of a test's own, which end with the test however it ends."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from threading import Event, Thread
from typing import Any, Protocol

from werkzeug.serving import make_server

from shared.states import Lane

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(Protocol):
    def serve_forever(self) -> None: ...

    def shutdown(self) -> None: ...


@contextmanager
def beside(target: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    """Run `target` in a thread; at the end `stop` must make it return.

    A daemon: a thread that does not end may fail its test, and never keeps pytest from ending.
    """
    thread = Thread(target=target, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(timeout=60)
    assert not thread.is_alive()


@contextmanager
def serving(server: _Server) -> Iterator[None]:
    """A server that answers while the block runs."""
    with beside(server.serve_forever, server.shutdown):
        yield


@contextmanager
def served(app: Wsgi) -> Iterator[str]:
    """The address at which an application answers while the block runs."""
    server = make_server("127.0.0.1", 0, _closed_in_any_case(app), threaded=True)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


def _closed_in_any_case(app: Wsgi) -> Wsgi:
    """Answers of an application, closed also where Werkzeug's server forgets to: when it finds that
    its client has gone away.
    """

    def parts_of(answer: Any) -> Iterator[bytes]:
        with closing(answer) if hasattr(answer, "close") else nullcontext():
            yield from answer

    return lambda environ, start_response: parts_of(app(environ, start_response))


@contextmanager
def draining(*lanes: Lane) -> Iterator[None]:
    """A worker of some lanes in this process."""
    from worker.runner import drain

    ended = Event()

    def work() -> None:
        while not ended.is_set():
            for lane in lanes:
                drain(lane)
            ended.wait(0.02)

    with beside(work, ended.set):
        yield
