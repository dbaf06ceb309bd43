"""Pauses and deadlines: what waits, what runs and what is done when one comes."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.db import transaction
from shared.errors import Conflict
from shared.services import jobs, retries
from shared.services.ledger import expire, leases, pause, sweep
from shared.services.ledger.claim import Claim
from shared.states import Lane, Stop
from shared.tables.job import Job
from shared.tables.tenant import Tenant
from tests.ledger import assert_sound, execute, finish, look, release, submit, take

pytestmark = pytest.mark.usefixtures("stand_in")


def pause_job(job: Job) -> None:
    with transaction() as session:
        jobs.pause(session, job.tenant_id, job.id)


def resume_job(job: Job) -> None:
    with transaction() as session:
        jobs.resume(session, job.tenant_id, job.id)


def stop_of(found: Claim) -> Stop | None:
    with transaction() as session:
        return leases.stop_flag(session, found.token)


class TestJobs:
    def test_a_paused_job_runs_nothing_until_it_is_resumed(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}] * 3)
        pause_job(job)
        assert look(job).state == "paused"
        assert not take().items
        assert_sound()

        resume_job(job)
        assert look(job).state == "queued"
        assert len(finish(take())) == 3
        assert look(job).state == "succeeded"
        assert_sound()

    def test_what_runs_is_asked_to_stop_and_waits_with_the_rest(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}] * 3)
        found = take(2)
        assert stop_of(found) is None
        pause_job(job)
        assert stop_of(found) is Stop.PAUSE

        release(found)
        assert (look(job).queued, look(job).running) == (3, 0)
        assert not take().items
        assert_sound()

        resume_job(job)
        assert look(job).state == "running"
        again = take()
        assert [item.attempt for item in again.items] == [1, 1, 1], "no attempt was spent"
        finish(again)
        assert_sound()

    def test_what_ends_all_the_same_ends_the_job(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}])
        found = take()
        pause_job(job)
        finish(found)

        assert look(job).state == "succeeded"
        assert_sound()

    def test_a_worker_that_dies_leaves_its_items_to_the_pause(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}] * 2)
        found = take()
        pause_job(job)
        execute("UPDATE leases SET expires_at = now() - interval '1 second'")
        with transaction() as session:
            sweep.recover(session, found.token)

        assert not take().items
        assert_sound()
        resume_job(job)
        assert len(take().items) == 2

    def test_a_paused_job_can_be_cancelled(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}] * 3)
        finish(take(1))
        pause_job(job)
        with transaction() as session:
            jobs.cancel(session, tenant.id, job.id)

        assert (look(job).state, look(job).done, look(job).cancelled) == ("cancelled", 1, 2)
        assert_sound()

    def test_what_has_ended_is_neither_paused_nor_resumed(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}])
        finish(take())

        with pytest.raises(Conflict, match="only a queued or running job"):
            pause_job(job)
        with pytest.raises(Conflict, match="only a paused job"):
            resume_job(job)


class TestLanes:
    def test_nothing_is_claimed_from_a_paused_lane(self, tenant: Tenant) -> None:
        submit(tenant.id, [{}] * 2)
        found = take(1)
        with transaction() as session:
            pause.pause_lane(session, Lane.TEXT)
            pause.pause_lane(session, Lane.TEXT)

        assert stop_of(found) is Stop.PAUSE
        release(found)
        assert not take().items
        with transaction() as session:
            assert sweep.claimable_lanes(session) == [], "nobody is woken for it"
            assert pause.paused_lanes(session) == [Lane.TEXT]
            pause.resume_lane(session, Lane.TEXT)
            assert sweep.claimable_lanes(session) == [Lane.TEXT]
        assert len(take().items) == 2
        assert_sound()


def sweep_deadlines() -> None:
    with transaction() as session:
        overdue = expire.overdue_jobs(session)
    for job_id in overdue:
        with transaction() as session:
            expire.expire(session, job_id)


def let_pass() -> None:
    execute("UPDATE jobs SET deadline = now() - interval '1 second'")


class TestDeadlines:
    LATER = datetime.now(UTC) + timedelta(hours=1)

    def test_what_has_not_started_expires_and_what_runs_is_finished(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}] * 5, deadline=self.LATER)
        finish(take(1))
        found = take(1)
        sweep_deadlines()
        assert look(job).queued == 3, "it is not yet time"

        let_pass()
        sweep_deadlines()
        assert (look(job).state, look(job).expired, look(job).running) == ("running", 3, 1)
        assert stop_of(found) is None
        assert_sound()

        finish(found)
        assert (look(job).state, look(job).done) == ("expired", 2)
        assert_sound()

    def test_a_job_of_which_nothing_started_has_expired(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}] * 5, deadline=self.LATER)
        pause_job(job)
        let_pass()
        sweep_deadlines()
        sweep_deadlines()

        assert (look(job).state, look(job).expired) == ("expired", 5)
        assert not take().items
        assert_sound()

    def test_what_comes_back_after_the_deadline_expires_too(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}], deadline=self.LATER)
        found = take()
        let_pass()
        sweep_deadlines()
        release(found)
        sweep_deadlines()

        assert (look(job).state, look(job).expired) == ("expired", 1)
        assert_sound()

    def test_a_retry_after_the_deadline_has_none(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}] * 2, deadline=self.LATER)
        let_pass()
        sweep_deadlines()
        with transaction() as session:
            retries.retry(session, tenant.id, job.id)
        sweep_deadlines()

        finish(take())
        assert look(job).state == "succeeded"
        assert_sound()
