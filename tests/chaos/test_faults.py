"""Faults while real workers run: nothing is lost and nothing is done twice."""

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import text

from shared.db import transaction
from shared.embedded.engines import Urls
from shared.queues import hint
from shared.services import failures, items, jobs, workers
from shared.services.pages import Cursor
from shared.states import Lane
from shared.storage import storage
from shared.tables.job import Job
from shared.tables.tenant import Tenant
from tests.chaos.processes import (
    IMPATIENT_WORKER,
    WORKER,
    running,
    send_hints,
    sweeper,
    worker,
)
from tests.chaos.report import FENCED
from tests.chaos.soundness import all_faults, changes, watching
from tests.ledger import submit
from tests.waiting import until

_RECEIVED = re.compile(r"Task work\[(\S+)\] received")

pytestmark = pytest.mark.usefixtures("looked_at")


@pytest.fixture
def looked_at(stand_in: str) -> Iterator[None]:
    """After the test everything is looked at: rows, stored objects, and how the rows changed."""
    with watching():
        yield
        assert changes() == {}
    assert all_faults(storage()) == {}


def read(tenant: Tenant, job: Job) -> Job:
    with transaction() as session:
        return jobs.get(session, tenant.id, job.id)


def up() -> int:
    with transaction() as session:
        return len(workers.alive(session))


def is_up() -> bool:
    return up() > 0


def attempts() -> list[int]:
    """Of each item."""
    with transaction() as session:
        return list(session.execute(text("SELECT attempt FROM items")).scalars())


def handed_out(logs: list[Path]) -> list[set[str]]:
    """The hints that each worker had, by its log."""
    return [set(_RECEIVED.findall(log.read_text())) for log in logs]


def start(tenant: Tenant, items: int, seconds: float) -> Job:
    job = submit(tenant.id, [{"seconds": seconds}] * items)
    hint(Lane.TEXT)
    return job


def test_a_worker_killed_in_the_middle_of_a_batch_loses_and_doubles_nothing(tenant: Tenant) -> None:
    with sweeper():
        with worker() as killed:
            until(is_up)
            job = start(tenant, items=64, seconds=0.05)
            until(lambda: read(tenant, job).done >= 16 and read(tenant, job).running > 0)
            killed.signal(signal.SIGKILL)
        with worker():
            until(lambda: read(tenant, job).state == "succeeded")

    assert read(tenant, job).done == 64


def test_an_item_that_ends_its_process_fails_and_its_neighbours_are_done(tenant: Tenant) -> None:
    with sweeper(), worker():
        until(is_up)
        job = submit(tenant.id, [{}] * 20 + [{"fault": "exit"}] + [{}] * 19)
        hint(Lane.TEXT)
        until(lambda: read(tenant, job).state == "partial", within_s=120)

    ended = read(tenant, job)
    assert (ended.done, ended.failed) == (39, 1)
    with transaction() as session:
        (failed,) = items.undone_items(session, ended)
    assert failed.seq == 20
    assert (failed.error or {})["code"] == "crashed"
    with transaction() as session:
        told = failures.list_failures(session, tenant.id, Cursor(), failures.Filter())
    assert {failure.kind for failure in told.rows} == {"crash"}
    assert any("exited prematurely" in failure.log for failure in told.rows)


def test_a_worker_frozen_before_its_commit_is_refused_when_it_wakes_after_its_lease(
    tenant: Tenant, tmp_path: Path
) -> None:
    log, struck = tmp_path / "frozen", tmp_path / "struck"
    point = {"FAIL_POINT": "before commit", "FAIL_SIGNAL": "SIGSTOP", "FAIL_ONCE": str(struck)}
    with sweeper(), running(*WORKER, "text", log=log, **point) as frozen:
        until(is_up)
        job = start(tenant, items=16, seconds=0.0)
        until(struck.exists)
        until(lambda: read(tenant, job).running == 0)
        with worker():
            until(lambda: read(tenant, job).state == "succeeded")
            assert FENCED not in log.read_text()
            frozen.signal(signal.SIGCONT)
            until(lambda: FENCED in log.read_text())

    assert attempts() == [2] * 16


def test_a_flushed_redis_delays_the_work_and_loses_none(tenant: Tenant, urls: Urls) -> None:
    with sweeper(), worker():
        until(is_up)
        job = start(tenant, items=96, seconds=0.02)
        until(lambda: read(tenant, job).done >= 16)
        with Redis.from_url(str(urls.redis)) as redis:
            redis.flushall()
        unhinted = submit(tenant.id, [{}] * 16)
        until(lambda: read(tenant, job).state == "succeeded")
        until(lambda: read(tenant, unhinted).state == "succeeded")


def test_five_hints_for_two_workers_have_each_item_tried_once(
    tenant: Tenant, tmp_path: Path
) -> None:
    logs = [tmp_path / "one", tmp_path / "other"]
    with ExitStack() as both:
        for log in logs:
            both.enter_context(running(*WORKER, "text", log=log))
        until(lambda: up() == 2)
        job = submit(tenant.id, [{"seconds": 0.05}] * 96)
        send_hints(Lane.TEXT, 5)
        until(lambda: read(tenant, job).state == "succeeded")
        until(lambda: len(set.union(*handed_out(logs))) >= 5)

    assert all(handed_out(logs)), "both had some"
    assert attempts() == [1] * 96


def test_a_batch_longer_than_the_brokers_patience_is_hinted_twice_and_run_once(
    tenant: Tenant, tmp_path: Path
) -> None:
    logs = [tmp_path / "one", tmp_path / "other"]
    with ExitStack() as both:
        for log in logs:
            both.enter_context(running(*IMPATIENT_WORKER, "text", log=log))
        until(lambda: up() == 2)
        job = start(tenant, items=12, seconds=0.4)
        until(lambda: read(tenant, job).state == "succeeded")

    assert len(set.union(*handed_out(logs))) == 1, "one hint was sent"
    assert set.intersection(*handed_out(logs)), "both had it"
    assert attempts() == [1] * 12


def test_a_worker_told_to_end_releases_its_items_without_an_attempt_spent(tenant: Tenant) -> None:
    with worker() as ending:
        until(is_up)
        job = start(tenant, items=16, seconds=5)
        until(lambda: read(tenant, job).running == 16)
        ending.child.send_signal(signal.SIGTERM)
        ending.child.wait(timeout=20)

    stopped = read(tenant, job)
    assert (stopped.running, stopped.queued) == (0, 16)
    assert attempts() == [0] * 16
