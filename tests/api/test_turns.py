"""Turns to compute: few at once, in order; who waits for something else holds up nobody."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from gunicorn.workers.gthread import ThreadWorker

from api import server, waiters
from api.turns import Turns
from tests.waiting import until

FOREVER_S = 60.0


class Crowd:
    """Threads that take turns; each stays in its own until it is told to go."""

    def __init__(self, turns: Turns, pool: ThreadPoolExecutor):
        self.turns = turns
        self.pool = pool
        self.came: list[int] = []
        self.goes = [threading.Event() for _ in range(6)]

    def comes(self, number: int) -> Future[None]:
        """One more stands in line, behind those that do."""
        before = len(self.turns._waiting) + len(self.came)
        future = self.pool.submit(self._stays, number)
        until(lambda: len(self.turns._waiting) + len(self.came) > before)
        return future

    def _stays(self, number: int) -> None:
        with self.turns.turn():
            self.came.append(number)
            assert self.goes[number].wait(FOREVER_S)


@contextmanager
def crowd(turns: Turns) -> Iterator[Crowd]:
    with ThreadPoolExecutor(6) as pool:
        threads = Crowd(turns, pool)
        try:
            yield threads
        finally:
            for event in threads.goes:
                event.set()


def test_so_many_have_one_at_once_and_the_others_get_theirs_in_order() -> None:
    with crowd(Turns(2, FOREVER_S)) as threads:
        for number in range(5):
            threads.comes(number)
        assert threads.came == [0, 1]

        for number in range(3):
            threads.goes[number].set()
            until(lambda so_many=number + 3: len(threads.came) == so_many)  # type: ignore[misc]
            assert threads.came == list(range(number + 3))


def test_whoever_takes_long_goes_on_while_the_next_one_comes() -> None:
    with crowd(Turns(1, longest_s=0.05)) as threads:
        slow = threads.comes(0)
        threads.comes(1)

        until(lambda: threads.came == [0, 1])
        assert not slow.done()
        threads.comes(2)
        threads.goes[0].set()
        slow.result()
        until(lambda: threads.came == [0, 1, 2])


def test_a_turn_that_is_ended_twice_is_no_turn_of_somebody_else() -> None:
    turns = Turns(1, FOREVER_S)
    with crowd(turns) as threads:
        with turns.turn():
            threads.comes(0)
            threads.comes(1)
            turns.end()
            until(lambda: threads.came == [0])
            turns.end()
        assert len(turns._waiting) == 1, "the other still stands in line"


def test_one_that_raises_has_had_its_turn() -> None:
    turns = Turns(1, FOREVER_S)
    with pytest.raises(LookupError), turns.turn():
        raise LookupError

    with crowd(turns) as threads:
        threads.comes(0)
        until(lambda: threads.came == [0])


def test_a_call_that_waits_for_a_model_has_had_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(1, FOREVER_S)
    monkeypatch.setattr(waiters, "TURNS", turns)
    with crowd(turns) as threads, turns.turn():
        threads.comes(0)
        assert not threads.came

        with waiters.Places(1, waiters.TooManyWaiting).take():
            until(lambda: threads.came == [0])


def test_the_server_answers_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(1, FOREVER_S)
    monkeypatch.setattr(server, "TURNS", turns)
    with crowd(turns) as threads:

        def answer(*_: Any) -> list[int]:
            threads.comes(0)
            return list(threads.came)

        monkeypatch.setattr(ThreadWorker, "handle_request", answer)
        worker = server.Worker.__new__(server.Worker)

        assert worker.handle_request(None, None) == []
        until(lambda: threads.came == [0])
