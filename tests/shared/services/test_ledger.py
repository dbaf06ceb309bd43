"""The ledger on real Postgres: accept, claim, commit, requeue, cancel, sweep."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from shared.db import asking, reading, transaction
from shared.services import jobs, looks, retries
from shared.services.ledger import leases, sweep
from shared.services.ledger.claim import _CLAIM, Claim, claim
from shared.services.ledger.commit import Done, Failed, Released, commit
from shared.states import Lane, Stop
from shared.tables.job import Job
from shared.tables.tenant import Tenant
from tests.ledger import OUTPUT, add_other_tenant, assert_sound, execute, finish, submit, take


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A node of a query's plan and all below it."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes_of(below)


def state_of(job_id: str, tenant_id: str) -> str:
    with transaction() as session:
        return jobs.get(session, tenant_id, job_id).state


def position_of(job: Job) -> int | None:
    with reading() as session:
        return looks.position(session, jobs.get(session, job.tenant_id, job.id))


@pytest.mark.usefixtures("stand_in")
class TestLife:
    def test_a_job_is_accepted_claimed_and_done(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{"seed": n} for n in range(20)])

        first = take()
        assert [item.seq for item in first.items] == list(range(16))
        assert first.more
        assert state_of(job.id, tenant.id) == "running"
        assert_sound()

        second = take()
        assert len(finish(first)) == 16
        assert len(finish(second)) == 4
        assert state_of(job.id, tenant.id) == "succeeded"
        assert not take().items
        assert_sound()

    def test_a_claim_looks_at_no_more_rows_than_it_takes(self, tenant: Tenant) -> None:
        submit(tenant.id, [{}] * 5000)

        names = {"lane": "text", "count": 16, "token": uuid4(), "worker": "worker"}
        names |= {"stage": "load", "lease_s": 40, "warm": [], "lead": 0}
        with transaction() as session:
            explain = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {_CLAIM.text}")
            [plan] = session.execute(explain, names).scalar_one()
            session.rollback()

        assert max(node["Actual Rows"] for node in nodes_of(plan["Plan"])) <= 16

    def test_a_claim_does_not_wait_for_the_disk_and_a_commit_does(self, tenant: Tenant) -> None:
        submit(tenant.id, [{}])
        waits = text("SELECT current_setting('synchronous_commit')")

        with transaction() as session:
            found = claim(session, Lane.TEXT, "worker", 1)
            assert session.execute(waits).scalar_one() == "off"
        with transaction() as session:
            commit(session, found.token, [Done(found.items[0].id, [OUTPUT])])
            assert session.execute(waits).scalar_one() == "on"

    def test_a_job_and_a_list_tell_the_same_position(self, tenant: Tenant) -> None:
        done, waiting = submit(tenant.id, [{}]), submit(tenant.id, [{}] * 3)
        submit(add_other_tenant(), [{}] * 2)
        with transaction() as session:
            first = claim(session, Lane.TEXT, "worker", 1)
        finish(first)

        with asking() as database:
            seen = [looks.look(database, tenant.id, job.id) for job in (done, waiting)]
            assert [look.position for look in seen] == [None, 5]
        assert position_of(waiting) == 5

    def test_higher_priority_goes_first_within_a_tenant(self, tenant: Tenant) -> None:
        submit(tenant.id, [{}], priority=0)
        urgent = submit(tenant.id, [{}], priority=5)

        assert [item.job_id for item in take(1).items] == [urgent.id]

    def test_a_batch_holds_one_shape_and_is_filled_from_other_flows(self, tenant: Tenant) -> None:
        submit(tenant.id, [{"shape": "a"}, {"shape": "b"}, {"shape": "a"}])
        job = submit(tenant.id, [{"shape": "a"}])

        found = take()

        assert [item.params["shape"] for item in found.items] == ["a", "a", "a"]
        assert found.items[-1].job_id == job.id

    def test_a_tenant_with_few_items_is_not_behind_one_with_many(self, tenant: Tenant) -> None:
        submit(tenant.id, [{"shape": "many"}] * 200)
        take()
        other = add_other_tenant()
        submit(other, [{"shape": "few"}])

        served = [take().items[0].tenant_id for _ in range(2)]

        assert other in served

    def test_what_is_bad_refuses_the_whole_request_naming_every_item(self, tenant: Tenant) -> None:
        from shared.errors import Invalid

        with pytest.raises(Invalid) as caught:
            submit(tenant.id, [{}, {"seconds": -1}, {"sedd": 1}])

        assert "items[1].params.seconds" in caught.value.message
        assert "items[2].params.sedd: there is no such field" in caught.value.message
        assert not take().items
        assert_sound()


@pytest.mark.usefixtures("stand_in")
class TestFences:
    def test_a_stale_token_cannot_commit(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}])
        lost = take()
        expire()
        with transaction() as session:
            assert sweep.recover(session, lost.token) is Lane.TEXT
        again = take()

        assert finish(lost) == set()
        assert_sound()
        assert len(finish(again)) == 1
        assert finish(again) == set()
        assert state_of(job.id, tenant.id) == "succeeded"
        assert_sound()

    def test_a_lease_that_lives_is_not_recovered(self, tenant: Tenant) -> None:
        submit(tenant.id, [{}])
        held = take()

        with transaction() as session:
            assert sweep.expired_leases(session) == []
            assert sweep.recover(session, held.token) is None
        assert_sound()

    def test_an_item_that_crashes_its_worker_three_times_has_failed(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}, {}])
        for crash in range(3):
            found = take()
            assert len(found.items) == (2 if crash < 2 else 1), "alone after two crashes"
            expire()
            with transaction() as session:
                sweep.recover(session, found.token)
                session.execute(text("UPDATE queue SET available_at = now()"))
        found = take()
        expire()
        with transaction() as session:
            sweep.recover(session, found.token)
            job = jobs.get(session, tenant.id, job.id)

        assert (job.state, job.failed) == ("failed", 2)
        assert_sound()

    def test_a_commit_under_an_unknown_token_changes_nothing(self, tenant: Tenant) -> None:
        submit(tenant.id, [{}])
        found = take()
        with transaction() as session:
            assert commit(session, uuid4(), [Done(found.items[0].id, [OUTPUT])]).items == set()
        assert_sound()


@pytest.mark.usefixtures("stand_in")
class TestRetries:
    def test_an_error_is_retried_after_a_pause_until_its_attempts_are_spent(
        self, tenant: Tenant
    ) -> None:
        job = submit(tenant.id, [{}])
        for attempt in (1, 2, 3):
            found = take()
            assert found.items[0].attempt == attempt
            raise_in(found)
            assert not take().items, "it pauses"
            end_pauses()
            assert_sound()

        assert state_of(job.id, tenant.id) == "failed"

    def test_crashes_spend_none_of_the_errors_that_an_item_may_have(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}])
        for _ in range(2):
            found = take()
            expire()
            with transaction() as session:
                sweep.recover(session, found.token)
            end_pauses()

        for _ in range(2):
            raise_in(take())
            assert longest_pause_s() <= 4, "it pauses for its errors, not for its crashes"
            assert_sound()
            end_pauses()
        assert state_of(job.id, tenant.id) == "running"

        raise_in(take())

        assert state_of(job.id, tenant.id) == "failed"
        assert_sound()

    def test_a_release_spends_no_attempt(self, tenant: Tenant) -> None:
        submit(tenant.id, [{}])
        found = take()
        with transaction() as session:
            committed = commit(session, found.token, [Released(found.items[0].id)])

        assert committed.hints == {Lane.TEXT}
        assert take().items[0].attempt == 1
        assert_sound()

    def test_retrying_a_job_runs_only_what_is_not_done(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}, {}])
        found = take()
        with transaction() as session:
            bad = Failed(found.items[1].id, {"code": "x", "message": "x"})
            commit(session, found.token, [Done(found.items[0].id, [OUTPUT]), bad])
        assert state_of(job.id, tenant.id) == "partial"

        with transaction() as session:
            retries.retry(session, tenant.id, job.id)
        again = take()

        assert [item.seq for item in again.items] == [1]
        finish(again)
        assert state_of(job.id, tenant.id) == "succeeded"
        assert_sound()


@pytest.mark.usefixtures("stand_in")
class TestCancel:
    def test_what_waits_ends_at_once_and_what_is_done_stays(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}] * 3)
        finish(take(1))
        with transaction() as session:
            cancelled = jobs.cancel(session, tenant.id, job.id)

        assert (cancelled.state, cancelled.done, cancelled.cancelled) == ("cancelled", 1, 2)
        assert_sound()

    def test_what_runs_is_asked_to_stop_and_ends_as_cancelled(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}])
        found = take()
        with transaction() as session:
            assert jobs.cancel(session, tenant.id, job.id).state == "cancelling"
        with transaction() as session:
            assert leases.stop_flag(session, found.token) is Stop.CANCEL

        with transaction() as session:
            commit(session, found.token, [Released(found.items[0].id)])
        assert state_of(job.id, tenant.id) == "cancelled"
        assert_sound()

    def test_a_cancel_that_comes_when_all_is_done_has_lost(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}])
        found = take()
        with transaction() as session:
            jobs.cancel(session, tenant.id, job.id)
        finish(found)

        with transaction() as session:
            ended = jobs.get(session, tenant.id, job.id)
        assert (ended.state, ended.done) == ("succeeded", 1)
        assert_sound()


def expire() -> None:
    with transaction() as session:
        session.execute(text("UPDATE leases SET expires_at = now() - interval '1 second'"))


def end_pauses() -> None:
    execute("UPDATE queue SET available_at = now()")


def longest_pause_s() -> float:
    with transaction() as session:
        left = text("SELECT extract(epoch FROM max(available_at) - now()) FROM queue")
        return float(session.execute(left).scalar_one())


def raise_in(found: Claim) -> None:
    """Commit a claim's items as raised, to be tried again."""
    error = {"code": "internal", "message": "RuntimeError: x"}
    with transaction() as session:
        commit(session, found.token, [Failed(item.id, error, retry=True) for item in found.items])
