"""Two who race for one job or one lease, again and again: one of them wins, and all stays sound."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import select, text

from shared.db import transaction
from shared.errors import Conflict
from shared.services import jobs, submissions
from shared.services.items import Wanted
from shared.services.ledger import leases, sweep
from shared.services.ledger.claim import Claim
from shared.services.ledger.commit import Done, Released, commit
from shared.states import FINAL_JOB_STATES, Lane, Stop
from shared.tables.job import Job
from shared.tables.tenant import Tenant
from tests.ledger import (
    OUTPUT,
    add_other_tenant,
    assert_sound,
    execute,
    finish,
    look,
    release,
    submit,
    take,
)

pytestmark = pytest.mark.usefixtures("stand_in")

LEADS_S = (-0.004, -0.002, 0.0, 0.002)
"""Head starts of the first of the two, in turn: what each of them does first takes its time, so
that of two who always start together nearly always the same one wins.
"""

Call = Callable[[], Any]
Race = Callable[..., tuple[Any, Any]]


@pytest.fixture
def race() -> Iterator[Race]:
    """Releases two calls at the same moment, or the first `lead_s` before; gives both answers."""
    start = Barrier(2)

    def run(call: Call, late_s: float) -> Any:
        start.wait()
        time.sleep(late_s)
        return call()

    def run_both(one: Call, other: Call, lead_s: float = 0.0) -> tuple[Any, Any]:
        return tuple(threads.map(run, (one, other), (max(0, -lead_s), max(0, lead_s))))

    with ThreadPoolExecutor(2) as threads:
        yield run_both


class TestCancelAgainstTheLastCommit:
    RACES = 1000

    def test_one_wins_and_the_job_says_which(self, tenant: Tenant, race: Race) -> None:
        accept_jobs(tenant, self.RACES)
        outcomes = {}
        for found, lead_s in zip(claimed_one_by_one(self.RACES), cycle(LEADS_S), strict=False):
            job_id = found.items[0].job_id
            work, stop = partial(finish_unless_stopped, found), partial(cancel, tenant, job_id)
            outcomes[job_id] = race(work, stop, lead_s)

        for job in all_jobs():
            is_done, is_taken = outcomes[job.id]
            if is_done:
                assert (job.state, job.done, job.cancelled) == ("succeeded", 1, 0)
            else:
                assert (job.state, job.done, job.cancelled) == ("cancelled", 0, 1)
                assert is_taken, "a cancel that was refused has lost"
        assert {is_done for is_done, _ in outcomes.values()} == {True, False}, "each won some"
        assert ends_told() == {1: self.RACES}
        assert_sound()


class TestTwoWhoAskTheSame:
    RACES = 50

    def test_both_cancels_are_taken(self, tenant: Tenant, race: Race) -> None:
        for _ in range(self.RACES):
            job = submit(tenant.id, [{}])
            take()
            again = partial(cancel, tenant, job.id)
            assert race(again, again) == (True, True)
        assert_sound()

    def test_both_pauses_are_taken(self, tenant: Tenant, race: Race) -> None:
        for _ in range(self.RACES):
            job = submit(tenant.id, [{}])
            race(partial(pause, job), partial(pause, job))
            assert look(job).state == "paused"
        assert_sound()


class TestPauseAgainstClaim:
    RACES = 200

    def test_the_item_runs_or_waits_and_is_done_once_it_is_resumed(
        self, tenant: Tenant, race: Race
    ) -> None:
        claimed = set()
        for lead_s in islice(cycle(LEADS_S), self.RACES):
            job = submit(tenant.id, [{}])
            found, _ = race(partial(take, 1), partial(pause, job), lead_s)
            claimed.add(len(found.items))

            paused = look(job)
            assert paused.state == "paused"
            assert (paused.running, paused.queued) == ((1, 0) if found.items else (0, 1))
            if found.items:
                release(found)
            assert not take().items, "nothing is claimed of a paused job"
        assert claimed == {0, 1}, "each won some"
        assert_sound()

        for job in all_jobs():
            resume(job)
        for found in claimed_one_by_one(self.RACES):
            finish(found)
        assert {(job.state, job.done) for job in all_jobs()} == {("succeeded", 1)}
        assert_sound()


class TestSweeperAgainstSweeper:
    RACES = 200

    def test_one_recovers_the_lease_and_counts_one_crash(self, tenant: Tenant, race: Race) -> None:
        job = submit(tenant.id, [{}] * self.RACES)
        winners = set()
        for _ in range(self.RACES):
            lost = take(1)
            expire_leases()
            lanes = race(partial(recover, lost), partial(recover, lost))
            assert set(lanes) == {Lane.TEXT, None}
            winners.add(lanes.index(Lane.TEXT))

            again = take(1)
            assert [(item.id, item.crashes) for item in again.items] == [(lost.items[0].id, 1)]
            finish(again)
        assert winners == {0, 1}, "each won some"
        assert (look(job).state, look(job).done) == ("succeeded", self.RACES)
        assert_sound()


class TestSweeperAgainstCommit:
    RACES = 200

    def test_what_one_has_the_other_is_refused(self, tenant: Tenant, race: Race) -> None:
        job = submit(tenant.id, [{}] * self.RACES)
        committed = set()
        for lead_s in islice(cycle(LEADS_S), self.RACES):
            late = take(1)
            expire_leases()
            done, lane = race(partial(finish, late), partial(recover, late), lead_s)
            assert (len(done), lane) in {(1, None), (0, Lane.TEXT)}
            committed.add(len(done))
            if lane is not None:
                assert len(finish(take(1))) == 1
        assert committed == {0, 1}, "each won some"
        assert (look(job).state, look(job).done) == ("succeeded", self.RACES)
        assert_sound()


class TestClaimAgainstClaimOfALimitedTenant:
    RACES = 100
    LIMIT = 3

    def test_no_more_run_than_may_and_all_are_done_at_their_first_attempt(
        self, tenant: Tenant, race: Race
    ) -> None:
        limited = add_other_tenant("limited", max_running=self.LIMIT)
        job = submit(limited, [{}] * self.LIMIT * self.RACES)
        filled = submit(tenant.id, [{}] * self.RACES)
        execute("UPDATE queue SET batch_key = 'the same'")
        order = []
        for lead_s in islice(cycle(LEADS_S), self.RACES):
            both = race(partial(take, 4), partial(take, 4), lead_s)
            assert look(job).running <= self.LIMIT
            assert_sound()
            for found in both:
                order += [item.seq for item in found.items if item.job_id == job.id]
                finish(found)
        while (found := take()).items:
            order += [item.seq for item in found.items if item.job_id == job.id]
            finish(found)

        assert sorted(order) == list(range(job.total))
        assert (look(job).state, look(filled).state) == ("succeeded", "succeeded")
        assert attempts() == {1}


def attempts() -> set[int]:
    """How often each item was tried."""
    with transaction() as session:
        return set(session.execute(text("SELECT attempt FROM items")).scalars())


def accept_jobs(tenant: Tenant, count: int) -> None:
    """Accept jobs of one item each, in one transaction."""
    with transaction() as session:
        for _ in range(count):
            common = submissions.Common(tenant.id)
            submissions.create_generation(session, common, "stand-in", [Wanted({})])


def claimed_one_by_one(count: int) -> Iterator[Claim]:
    """So many items that wait, running."""
    while count > 0:
        found = take(min(count, 16))
        assert found.items, "so many do not wait"
        count -= len(found.items)
        for item in found.items:
            yield replace(found, items=[item])


def finish_unless_stopped(found: Claim) -> bool:
    """Do as a worker does: look whether to stop, then commit. Whether the item was done."""
    with transaction() as session:
        is_stopped = leases.stop_flag(session, found.token) is Stop.CANCEL
    [item] = found.items
    result = Released(item.id) if is_stopped else Done(item.id, [OUTPUT])
    with transaction() as session:
        assert commit(session, found.token, [result]).items == {item.id}
    return not is_stopped


def cancel(tenant: Tenant, job_id: str) -> bool:
    """Cancel a job. False: that was refused."""
    try:
        with transaction() as session:
            jobs.cancel(session, tenant.id, job_id)
    except Conflict:
        return False
    return True


def pause(job: Job) -> None:
    with transaction() as session:
        jobs.pause(session, job.tenant_id, job.id)


def resume(job: Job) -> None:
    with transaction() as session:
        jobs.resume(session, job.tenant_id, job.id)


def expire_leases() -> None:
    execute("UPDATE leases SET expires_at = now() - interval '1 second'")


def recover(lost: Claim) -> Lane | None:
    with transaction() as session:
        return sweep.recover(session, lost.token)


def all_jobs() -> list[Job]:
    with transaction() as session:
        return list(session.scalars(select(Job)))


def ends_told() -> dict[int, int]:
    """How many jobs have so many events of their end."""
    ends = text("""
        SELECT times, count(*) FROM (
            SELECT count(*) AS times FROM events
            WHERE type = 'state' AND message = ANY(:ends) GROUP BY job_id) told
        GROUP BY times
    """)
    with transaction() as session:
        rows = session.execute(ends, {"ends": sorted(FINAL_JOB_STATES)})
        return {row.times: row.count for row in rows}
