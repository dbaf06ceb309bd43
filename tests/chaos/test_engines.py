"""Faults of engines: Redis, Postgres and the object storage, while real programs run."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import psycopg
import pytest
from redis import Redis
from sqlalchemy import text

from shared.db import transaction
from shared.services import failures
from shared.services.pages import Cursor
from tests.chaos.client import Customer
from tests.chaos.conftest import customer_of, in_use
from tests.chaos.proxy import Fault
from tests.chaos.site import Site
from tests.chaos.soundness import all_faults
from tests.ledger import execute
from tests.waiting import until

ITEM = {"seconds": 0.05}
"""So that a batch lasts long enough to be met by a fault."""
PROGRAMS = ("api", "sweeper", "worker")

_RESTING = text("SELECT count(*) FROM queue WHERE available_at > now()")
_ATTEMPTS = text("""
    SELECT DISTINCT items.attempt FROM items JOIN jobs ON jobs.id = items.job_id
    WHERE jobs.tenant_id = :tenant
""")


@pytest.fixture(scope="class")
def programs(engines_to_hurt: tuple[Site, dict[str, str]]) -> Iterator[Site]:
    """API, a worker and a sweeper, ready; they live through one fault after the other."""
    with in_use(engines_to_hurt) as made:
        start_all(made)
        yield made


@pytest.fixture
def running(programs: Site) -> Iterator[Site]:
    """Those programs; their engines are healed after the test, and none has ended."""
    yield programs
    programs.heal_engines()
    ended = [name for name, one in programs.programs.items() if one.child.poll() is not None]
    assert ended == []


@pytest.fixture
def customer(running: Site) -> Iterator[Customer]:
    """One more tenant of theirs."""
    with customer_of(running, f"acme {uuid4()}") as made:
        yield made


def start_all(site: Site) -> None:
    for name in PROGRAMS:
        site.start(name)
    site.await_api()
    site.await_workers()


def done(customer: Customer, job_id: str) -> int:
    return (customer.look(job_id) or {"counts": {"done": 0}})["counts"]["done"]


def hold_connections(url: str, held: ExitStack) -> None:
    """Make connections until there are no more. Raises OperationalError then."""
    while True:
        held.enter_context(psycopg.connect(url))


def attempts(customer: Customer) -> set[int]:
    with transaction() as session:
        return set(session.execute(_ATTEMPTS, {"tenant": customer.tenant_id}).scalars())


def resting() -> int:
    """How many items were released, to be run again later."""
    with transaction() as session:
        return int(session.execute(_RESTING).scalar_one())


def end_rests() -> None:
    """Let them be run again now: how long they rest is not what is looked at here."""
    execute("UPDATE queue SET available_at = now()")


def assert_no_attempt_was_spent(customer: Customer) -> None:
    """What the engines did wrong cost no item an attempt."""
    assert attempts(customer) == {1}
    with transaction() as session:
        told = failures.list_failures(session, customer.tenant_id, Cursor(), failures.Filter())
    assert not told.rows


class TestRedis:
    def test_stopped_for_a_while_it_delays_the_work_and_nothing_else(
        self, running: Site, customer: Customer
    ) -> None:
        first = customer.submit([ITEM] * 64)
        until(lambda: done(customer, first) > 0)
        with running.redis.showing(Fault.REFUSE):
            began = time.monotonic()
            second = customer.submit([ITEM] * 16)
            assert time.monotonic() - began < 5, "acceptance needs no Redis"
        back = time.monotonic()

        assert customer.await_end(first)["state"] == "succeeded"
        assert customer.await_end(second, within_s=20)["state"] == "succeeded"
        assert time.monotonic() - back < 20
        assert all_faults(running) == {}

    def test_half_open_it_delays_the_work_and_nothing_else(
        self, running: Site, customer: Customer
    ) -> None:
        first = customer.submit([ITEM] * 64)
        until(lambda: done(customer, first) > 0)
        with running.redis.showing(Fault.SILENT):
            second = customer.submit([ITEM] * 16)
            assert customer.await_end(first)["state"] == "succeeded", "work goes on without hints"

        assert customer.await_end(second)["state"] == "succeeded"
        assert all_faults(running) == {}


class TestPostgres:
    def test_a_restart_in_the_middle_loses_and_doubles_nothing(
        self, running: Site, customer: Customer
    ) -> None:
        first = customer.submit([ITEM] * 96)
        until(lambda: done(customer, first) > 0)
        running.restart_postgres()
        second = customer.submit([ITEM] * 16)

        for job in (first, second):
            assert customer.await_end(job)["state"] == "succeeded"
        assert_no_attempt_was_spent(customer)
        assert all_faults(running) == {}

    def test_while_it_is_away_the_api_says_503_and_when_to_come_again(
        self, running: Site, customer: Customer
    ) -> None:
        with running.without_postgres():
            answer = customer.try_submit([ITEM], "a key")

        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        until(lambda: customer.try_submit([ITEM], "a key").status_code == 202)
        assert all_faults(running) == {}

    def test_connections_that_are_ended_are_made_anew(
        self, running: Site, customer: Customer
    ) -> None:
        job = customer.submit([ITEM] * 160)
        for _ in range(5):
            before = done(customer, job)
            until(lambda seen=before: done(customer, job) > seen)
            assert running.terminate_backends() > 0

        assert customer.await_end(job)["state"] == "succeeded"
        assert_no_attempt_was_spent(customer)
        assert all_faults(running) == {}

    def test_when_others_hold_every_connection_work_waits_and_goes_on(
        self, running: Site, customer: Customer
    ) -> None:
        job = customer.submit([ITEM] * 96)
        until(lambda: done(customer, job) > 0)
        url = running.database_url.replace("postgresql+psycopg://", "postgresql://")
        with ExitStack() as held:
            with pytest.raises(
                psycopg.OperationalError, match=r"slots are reserved|too many clients"
            ):
                hold_connections(url, held)
            until(lambda: done(customer, job) > 48)

        assert customer.await_end(job)["state"] == "succeeded"
        assert all_faults(running) == {}

    def test_a_transaction_that_is_held_open_for_long_stops_nothing(
        self, running: Site, customer: Customer
    ) -> None:
        url = running.database_url.replace("postgresql+psycopg://", "postgresql://")
        with psycopg.connect(url) as old:
            old.execute("SELECT count(*) FROM items")
            job = customer.submit([ITEM] * 64)

            assert customer.await_end(job)["state"] == "succeeded"
        assert all_faults(running) == {}


class TestStorage:
    @pytest.mark.parametrize(
        "fault", [Fault.REFUSE, Fault.ERROR, Fault.ERROR_AFTER, Fault.LOST_ANSWER]
    )
    def test_what_it_does_wrong_lets_items_rest_and_costs_no_attempt(
        self, running: Site, customer: Customer, fault: Fault
    ) -> None:
        job = customer.submit([ITEM] * 48)
        until(lambda: done(customer, job) > 0)
        with running.storage.showing(fault):
            until(lambda: resting() > 0)
        end_rests()

        assert customer.await_end(job)["state"] == "succeeded"
        assert_no_attempt_was_spent(customer)
        assert all_faults(running) == {}

    def test_slow_it_delays_the_work_and_nothing_else(
        self, running: Site, customer: Customer
    ) -> None:
        with running.storage.showing(Fault.SLOW):
            job = customer.submit([ITEM] * 48)

            assert customer.await_end(job)["state"] == "succeeded"
        assert running.storage.struck >= 48
        assert_no_attempt_was_spent(customer)
        assert all_faults(running) == {}

    def test_nothing_is_done_whose_object_was_not_stored(
        self, running: Site, customer: Customer
    ) -> None:
        running.storage.methods = {"PUT"}
        with running.storage.showing(Fault.ERROR):
            job = customer.submit([ITEM] * 16)
            until(lambda: running.storage.struck >= 16 and resting() > 0)
            assert done(customer, job) == 0
        running.storage.methods = None
        end_rests()

        assert customer.await_end(job)["state"] == "succeeded"
        assert all_faults(running) == {}


def test_a_redis_emptied_while_nobody_listens_loses_no_work(victim: Site) -> None:
    victim.start("api")
    victim.await_api()
    with customer_of(victim, "acme") as customer:
        job = customer.submit([ITEM] * 16)
        with Redis.from_url(str(victim.engines.urls.redis)) as redis:
            until(lambda: bool(redis.exists("atelier:text")))
        victim.flush_redis()
        for name in ("sweeper", "worker"):
            victim.start(name)

        assert customer.await_end(job)["state"] == "succeeded"
    assert all_faults(victim) == {}
