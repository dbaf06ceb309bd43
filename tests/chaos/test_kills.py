"""Programs that are killed at named points: what was accepted is done, once."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from shared.db import transaction
from shared.queues import hint
from shared.states import Lane
from tests.chaos.client import Customer
from tests.chaos.site import Site
from tests.chaos.soundness import all_faults, changes, watching
from tests.waiting import until
from worker.runner import BATCH

ITEM = {"seconds": 0.01}
IN_FLIGHT = 3 * BATCH
"""Items that a worker holds at most."""


def count(table: str) -> int:
    with transaction() as session:
        return int(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def await_more_done(customer: Customer, job: str) -> None:
    """Return once another of a job's items is done."""
    before = (customer.look(job) or {})["counts"]["done"]
    until(lambda: (customer.look(job) or {})["counts"]["done"] > before)


class TestWorkers:
    @pytest.mark.parametrize(
        "point", ["claimed", "before put", "after put", "before commit", "after commit"]
    )
    def test_killed_at_any_point_its_items_are_done_once(
        self, victim: Site, customer: Customer, tmp_path: Path, point: str
    ) -> None:
        victim.start("api")
        victim.start("sweeper")
        victim.await_api()
        with watching():
            job = customer.submit([ITEM] * 40)
            victim.start("worker", FAIL_POINT=point, FAIL_ONCE=str(tmp_path / "struck"))
            hint(Lane.TEXT)
            until(lambda: (tmp_path / "struck").exists())
            until(lambda: victim.programs["worker"].child.poll() is not None)
            victim.kill("worker")
            victim.start("another worker")

            ended = customer.await_end(job)
            assert (ended["state"], ended["counts"]["done"]) == ("succeeded", 40)
            assert changes() == {}
        assert all_faults(victim) == {}

    def test_a_clock_that_is_wrong_changes_nothing(self, victim: Site, customer: Customer) -> None:
        victim.start("api", CLOCK_SKEW_S="600")
        victim.start("sweeper", CLOCK_SKEW_S="-600")
        victim.start("late worker", CLOCK_SKEW_S="-600")
        victim.start("early worker", CLOCK_SKEW_S="600")
        victim.await_api()
        victim.await_workers(2)
        with watching():
            # Over already by the API's clock.
            job = customer.submit([ITEM] * 160, deadline=int(time.time()) + 300)

            assert customer.await_end(job)["state"] == "succeeded"
            assert changes() == {}
        with transaction() as session:
            attempts = session.execute(text("SELECT max(attempt) FROM items")).scalar_one()
        assert attempts == 1, "no lease expired for it"
        assert all_faults(victim) == {}

    def test_workers_replaced_one_after_the_other_spend_no_attempt(
        self, victim: Site, customer: Customer
    ) -> None:
        victim.start("api")
        victim.start("sweeper")
        victim.start("worker 0")
        victim.await_api()
        victim.await_workers()
        # More than they do, however long they take to start and to end.
        job = customer.submit([{"seconds": 0.1}] * 2000)
        await_more_done(customer, job)
        for number in range(1, 3):
            victim.start(f"worker {number}")
            victim.await_workers(number + 1)
            victim.programs.pop(f"worker {number - 1}").stop()
            await_more_done(customer, job)
        before = customer.look(job)["counts"]
        victim.programs.pop("worker 2").stop()
        after = customer.look(job)["counts"]
        assert after["running"] == 0, "it let go of what it held"
        assert after["done"] - before["done"] <= IN_FLIGHT
        customer.change(job, "cancel")

        assert customer.await_end(job)["state"] == "cancelled"
        with transaction() as session:
            attempts = session.execute(text("SELECT max(attempt) FROM items")).scalar_one()
        assert attempts == 1
        assert all_faults(victim) == {}


class TestApi:
    def test_killed_before_its_commit_it_has_accepted_nothing(
        self, victim: Site, customer: Customer, tmp_path: Path
    ) -> None:
        victim.start("api", FAIL_POINT="before accept", FAIL_ONCE=str(tmp_path / "struck"))
        victim.await_api()
        with pytest.raises(httpx.TransportError):
            customer.try_submit([ITEM], "the key")

        assert (count("jobs"), count("idempotency")) == (0, 0)

    def test_killed_after_its_commit_it_replays_the_same_job(
        self, victim: Site, customer: Customer, tmp_path: Path
    ) -> None:
        victim.start("api", FAIL_POINT="after accept", FAIL_ONCE=str(tmp_path / "struck"))
        victim.await_api()
        with pytest.raises(httpx.TransportError):
            customer.try_submit([ITEM] * 3, "the key")
        assert count("jobs") == 1
        victim.kill("api")
        victim.start("api")
        victim.await_api()

        answer = customer.try_submit([ITEM] * 3, "the key")

        assert answer.status_code == 202
        assert (count("jobs"), count("items")) == (1, 3)
        for name in ("sweeper", "worker"):
            victim.start(name)
        assert customer.await_end(answer.json()["id"])["state"] == "succeeded"
        assert all_faults(victim) == {}

    def test_told_to_end_under_load_it_answers_what_it_took_and_the_next_goes_on(
        self, victim: Site, customer: Customer
    ) -> None:
        victim.start("api")
        victim.await_api()
        answered: list[str] = []
        with ThreadPoolExecutor(4) as clients:
            for _ in range(4):
                clients.submit(submit_until_refused, customer, answered)
            until(lambda: len(answered) >= 8)
            answered_before = len(answered)
            victim.programs.pop("api").stop()

        assert len(answered) > answered_before, "it had taken some when it was told"
        with transaction() as session:
            accepted = session.execute(text("SELECT id FROM jobs")).scalars().all()
        assert sorted(answered) == sorted(accepted)

        for name in ("api", "sweeper", "worker"):
            victim.start(name)
        victim.await_api()
        ended = {customer.await_end(job)["state"] for job in answered}
        assert ended == {"succeeded"}
        assert all_faults(victim) == {}


def submit_until_refused(customer: Customer, answered: list[str]) -> None:
    """Submit jobs, each for the first time, until nobody answers; adds those that were accepted."""
    with suppress(httpx.TransportError):
        while (answer := customer.try_submit([{}] * 40, str(uuid4()))).status_code == 202:
            answered.append(answer.json()["id"])


def test_a_sweeper_killed_between_requeue_and_hint_is_made_good_by_the_next(
    victim: Site, customer: Customer, tmp_path: Path
) -> None:
    victim.start("api")
    victim.await_api()
    job = customer.submit([{"seconds": 20}] * 2)
    victim.start("worker")
    until(lambda: (customer.look(job) or {})["counts"]["running"] == 2)
    victim.kill("worker")
    victim.start("sweeper", FAIL_POINT="requeued", FAIL_ONCE=str(tmp_path / "struck"))
    until(lambda: (tmp_path / "struck").exists())
    victim.kill("sweeper")
    assert (customer.look(job) or {})["counts"]["queued"] == 2
    victim.start("sweeper")
    victim.start("another worker")

    until(lambda: (customer.look(job) or {})["counts"]["running"] == 2)
    customer.change(job, "cancel")
    assert customer.await_end(job)["state"] == "cancelled"
    assert all_faults(victim) == {}
    assert os.path.exists(tmp_path / "struck")
