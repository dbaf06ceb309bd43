"""Connections that the other end has closed are noticed, and replaced, before they are used."""

from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from shared.db import asking, engine, reading, transaction
from shared.embedded.engines import Urls

PID = text("SELECT pg_backend_pid()")


def close_from_the_other_end(pid: int) -> None:
    """What a restart of the server, or a firewall, does to a connection of the pool."""
    address = engine().url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


@pytest.fixture(params=[transaction, reading, asking], ids=lambda way: way.__name__)
def used_connection(request: pytest.FixtureRequest) -> Callable[[], int]:
    """Uses a connection in one of the ways there are, and tells which it was."""

    def use() -> int:
        with request.param() as database:
            return int(database.execute(PID).scalar_one())

    return use


def test_an_idle_connection_that_was_closed_is_replaced(
    urls: Urls, monkeypatch: pytest.MonkeyPatch, used_connection: Callable[[], int]
) -> None:
    monkeypatch.setattr("shared.db._IDLE_S", 0.0)
    pid = used_connection()

    close_from_the_other_end(pid)

    assert used_connection() != pid


def test_one_that_was_closed_a_moment_ago_costs_one_failure(
    urls: Urls, monkeypatch: pytest.MonkeyPatch, used_connection: Callable[[], int]
) -> None:
    monkeypatch.setattr("shared.db._IDLE_S", 60.0)
    pid = used_connection()
    close_from_the_other_end(pid)

    with pytest.raises(OperationalError):
        used_connection()

    assert used_connection() != pid
