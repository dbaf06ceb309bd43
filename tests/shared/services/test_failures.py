"""Failures: what is kept of attempts that went wrong, and what a retry of them repeats."""

import pytest

from shared.db import transaction
from shared.services import failures, jobs, retries
from shared.services.failures import Filter
from shared.services.ledger import leases, sweep
from shared.services.ledger.claim import Claim
from shared.services.ledger.commit import Failed, commit
from shared.services.pages import Cursor
from shared.states import Stage
from shared.tables.failure import Failure
from shared.tables.tenant import Tenant
from tests.ledger import (
    add_other_tenant,
    assert_sound,
    execute,
    finish,
    look,
    submit,
    take,
)

pytestmark = pytest.mark.usefixtures("stand_in")

BROKEN = {"code": "internal", "message": "ValueError: no such layer"}
REFUSED = {"code": "invalid_value", "message": "seed: refused", "param": "seed"}


def fail(found: Claim, *errors: dict) -> None:
    """Commit the first items of a claim as failed, and the others as done."""
    with transaction() as session:
        results = [
            Failed(item.id, error, log="the last words")
            for item, error in zip(found.items, errors, strict=False)
        ]
        commit(session, found.token, results)
    found.items[:] = found.items[len(errors) :]
    if found.items:
        finish(found)


def crash(found: Claim) -> None:
    execute("UPDATE leases SET expires_at = now() - interval '1 second'")
    with transaction() as session:
        sweep.recover(session, found.token)
    execute("UPDATE queue SET available_at = now()")


def failed(tenant_id: str, **only: object) -> list[Failure]:
    with transaction() as session:
        cursor = Cursor(order="asc", limit=100)
        return list(failures.list_failures(session, tenant_id, cursor, Filter(**only)).rows)


def retry(tenant_id: str, **only: object) -> int:
    with transaction() as session:
        return retries.retry_failed(session, tenant_id, Filter(**only)).items


def test_each_attempt_is_kept_with_its_error_and_log(tenant: Tenant) -> None:
    job = submit(tenant.id, [{}])
    for _ in range(3):
        found = take()
        with transaction() as session:
            commit(session, found.token, [Failed(found.items[0].id, BROKEN, True, log="words")])
        execute("UPDATE queue SET available_at = now()")

    kept = failed(tenant.id, job_id=job.id)

    assert [(each.attempt, each.ended) for each in kept] == [(1, False), (2, False), (3, True)]
    assert {(each.reason, each.log, each.kind) for each in kept} == {
        ("internal: ValueError", "words", "error")
    }
    assert look(job).state == "failed"


def test_a_crash_is_kept_with_what_the_worker_logged_last(tenant: Tenant) -> None:
    submit(tenant.id, [{}])
    for _ in range(3):
        found = take()
        with transaction() as session:
            leases.renew(session, found.token, Stage.FORWARD, "about to divide by zero")
        crash(found)

    kept = failed(tenant.id)

    assert [each.kind for each in kept] == ["crash"] * 3
    assert kept[-1].ended
    assert kept[-1].log == "about to divide by zero"
    assert "stage forward" in kept[-1].error["message"]
    assert_sound()


def test_a_worker_whose_process_ended_loses_its_leases_at_once(tenant: Tenant) -> None:
    submit(tenant.id, [{}] * 2)
    lost, kept = take(1), take(1)
    execute(f"UPDATE leases SET worker = 'another' WHERE token = '{kept.token}'")
    with transaction() as session:
        leases.lose_worker(session, "worker", "exited with signal 9")
        assert sweep.expired_leases(session) == [lost.token]
        sweep.recover(session, lost.token)

    assert [each.log for each in failed(tenant.id)] == ["exited with signal 9"]


def test_one_item_is_retried_and_the_others_stay(tenant: Tenant) -> None:
    job = submit(tenant.id, [{}] * 3)
    fail(take(), BROKEN, BROKEN)
    first = failed(tenant.id)[0]

    assert retry(tenant.id, item_id=first.item_id) == 1

    again = take()
    assert [item.id for item in again.items] == [first.item_id]
    finish(again)
    assert (look(job).state, look(job).done, look(job).failed) == ("partial", 2, 1)
    assert [each.ended for each in failed(tenant.id)] == [False, True]
    assert_sound()


def test_all_of_one_reason_are_retried_whatever_their_job(tenant: Tenant) -> None:
    ended = submit(tenant.id, [{}] * 2)
    fail(take(), BROKEN, REFUSED)
    running = submit(tenant.id, [{}] * 3)
    fail(take(1), BROKEN)
    assert (look(ended).state, look(running).state) == ("failed", "running")

    assert retry(tenant.id, reason="internal: ValueError") == 2

    assert (look(ended).queued, look(running).queued) == (1, 3)
    assert_sound()
    finish(take())
    assert (look(ended).state, look(running).state) == ("partial", "succeeded")
    assert [each.reason for each in failed(tenant.id, ended=True)] == ["invalid_value"]
    assert_sound()


def test_a_retry_that_comes_twice_leaves_an_ended_job_as_it_is(tenant: Tenant) -> None:
    job = submit(tenant.id, [{}] * 2)
    fail(take(), BROKEN)
    (failure,) = failed(tenant.id)
    assert retry(tenant.id, job_id=job.id) == 1
    finish(take())

    # As a second one does that had looked before the first was committed.
    with transaction() as session:
        assert retries._retry_some(session, job.id, [failure.item_id], oldest=None) == 0

    assert look(job).state == "succeeded"
    assert_sound()


def test_a_hundred_thousand_failed_items_are_retried_at_once(tenant: Tenant) -> None:
    job = submit(tenant.id, [{}] * 70_000)
    execute("DELETE FROM queue")
    execute("UPDATE items SET state = 'failed', attempt = 1")
    execute("UPDATE jobs SET state = 'failed', queued = 0, failed = total, finished_at = now()")
    execute("UPDATE flows SET queued = 0, cost = 0")
    execute("""
        INSERT INTO failures
            (tenant_id, job_id, item_id, attempt, kind, ended, reason, error, worker)
        SELECT jobs.tenant_id, jobs.id, items.id, 1, 'error', true, 'x', '{"code" : "x"}', 'w'
        FROM items JOIN jobs ON jobs.id = items.job_id
    """)

    assert retry(tenant.id, reason="x") == 70_000

    assert look(job).queued == 70_000
    assert_sound()


def test_what_failed_in_a_paused_job_waits_with_it(tenant: Tenant) -> None:
    job = submit(tenant.id, [{}] * 2)
    fail(take(1), BROKEN)
    with transaction() as session:
        jobs.pause(session, tenant.id, job.id)

    assert retry(tenant.id, job_id=job.id) == 1

    assert not take().items
    assert_sound()


def test_another_tenants_failures_are_neither_seen_nor_retried(tenant: Tenant) -> None:
    other = add_other_tenant()
    submit(other, [{}])
    fail(take(), BROKEN)

    assert failed(tenant.id) == []
    assert retry(tenant.id, reason="internal: ValueError") == 0


def test_reasons_are_counted_the_most_frequent_first(tenant: Tenant) -> None:
    submit(tenant.id, [{}] * 3)
    fail(take(), REFUSED, BROKEN, BROKEN)

    with transaction() as session:
        found = failures.reasons(session, tenant.id)

    assert [(each.reason, each.items, each.jobs) for each in found] == [
        ("internal: ValueError", 2, 1),
        ("invalid_value", 1, 1),
    ]


def test_of_a_reason_with_very_many_the_latest_are_counted(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MOST_COUNTED", 2)
    submit(tenant.id, [{}])
    fail(take(), BROKEN)
    submit(tenant.id, [{}] * 4)
    fail(take(), BROKEN, BROKEN, REFUSED, REFUSED)
    submit(add_other_tenant(), [{}])
    fail(take(), BROKEN)

    with transaction() as session:
        found = failures.reasons(session, tenant.id)

    assert [(each.reason, each.items, each.more) for each in found] == [
        ("internal: ValueError", 2, True),
        ("invalid_value", 2, False),
    ]
    assert found[0].example == BROKEN["message"]
