"""Small stories of jobs and workers in this process, each up to a point at which all must hold."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

from shared.db import transaction
from shared.services import files, fine_tuning, jobs, retries, submissions, webhooks
from shared.services.ledger import expire, sweep
from shared.services.ledger.claim import Claim
from shared.states import Lane
from shared.tables.job import Job
from shared.tables.tenant import Tenant
from tests.ledger import execute, release, submit, take
from worker.generation import forward, store
from worker.host import host
from worker.lease import Lease
from worker.runner import drain
from worker.writing import write


def a_job_runs(tenant: Tenant) -> None:
    accept(tenant, [{"n": 2}] * 3)
    drain(Lane.TEXT)


def one_of_a_batch_ends_before_the_others(tenant: Tenant) -> None:
    accept(tenant, [{}] * 3)
    found = take()
    work_on(replace(found, items=found.items[:1]))


def a_lost_worker_comes_back(tenant: Tenant) -> None:
    accept(tenant, [{}] * 3)
    lost = take()
    lose(lost)
    work_on(lost)


def a_lost_worker_comes_back_while_another_runs_its_items(tenant: Tenant) -> None:
    accept(tenant, [{}] * 3)
    lost = take()
    lose(lost)
    found = take()
    work_on(lost)
    work_on(found)


def a_lost_worker_comes_back_after_another_ran_its_items(tenant: Tenant) -> None:
    accept(tenant, [{}] * 3)
    lost = take()
    lose(lost)
    work_on(take())
    work_on(lost)


def an_item_always_raises(tenant: Tenant) -> None:
    accept(tenant, [{"fault": "raise"}])
    for _ in range(5):
        if (found := take()).items:
            work_on(found)
        end_pauses()


def an_item_always_kills_its_worker(tenant: Tenant) -> None:
    accept(tenant, [{}])
    for _ in range(5):
        if (found := take()).items:
            lose(found)
        end_pauses()


def a_job_is_cancelled_while_it_runs(tenant: Tenant) -> None:
    """One of its items is done, one runs, one waits."""
    job = accept(tenant, [{}] * 3)
    work_on(take(1))
    take(1)
    cancel(job)


def a_worker_ends_its_items_though_their_job_was_cancelled(tenant: Tenant) -> None:
    job = accept(tenant, [{}] * 3)
    found = take(2)
    cancel(job)
    work_on(found)


def a_job_is_paused_while_it_runs(tenant: Tenant) -> None:
    job = accept(tenant, [{}] * 3)
    found = take(1)
    with transaction() as session:
        jobs.pause(session, tenant.id, job.id)
    release(found)


def a_paused_job_is_resumed(tenant: Tenant) -> None:
    job = accept(tenant, [{}] * 3)
    with transaction() as session:
        jobs.pause(session, tenant.id, job.id)
    with transaction() as session:
        jobs.resume(session, tenant.id, job.id)


def a_deadline_passes(tenant: Tenant) -> None:
    job = accept(tenant, [{}] * 3, deadline=datetime.now(UTC) - timedelta(seconds=1))
    with transaction() as session:
        expire.expire(session, job.id)


def a_job_is_retried(tenant: Tenant) -> None:
    """One of its items was done, one was refused."""
    job = accept(tenant, [{}, {"fault": "refuse"}])
    work_on(take())
    with transaction() as session:
        retries.retry(session, tenant.id, job.id)


def a_trainings_file_cannot_be_prepared(tenant: Tenant) -> None:
    file = files.store(tenant.id, "fine-tune", "chats.jsonl", BytesIO(b"{]"))
    with transaction() as session:
        session.add(file)
        session.flush()
        new = fine_tuning.NewTuning("causal_lm", file.id, None, {}, ())
        fine_tuning.create(session, submissions.Common(tenant.id), new)
    drain(Lane.LIGHT)


def accept(tenant: Tenant, params: list[dict[str, Any]], **common: Any) -> Job:
    """A job whose end a webhook is to be told of."""
    with transaction() as session:
        hook = webhooks.create(session, tenant.id, "https://hooks.example.com", ["job.failed"])
    return submit(tenant.id, params, webhook_id=hook.id, key_id="key", **common)


def work_on(found: Claim) -> None:
    """Do what a worker does after a claim, in this thread."""
    lease = Lease(found.token, host().keeper)
    with ThreadPoolExecutor(2) as pool:
        write(lease, store(forward(host(), found.items, lease), lease, pool))


def lose(found: Claim) -> None:
    """Let a claim's lease run out, and a sweeper find it."""
    execute("UPDATE leases SET expires_at = now() - interval '1 second'")
    with transaction() as session:
        sweep.recover(session, found.token)


def cancel(job: Job) -> None:
    with transaction() as session:
        jobs.cancel(session, job.tenant_id, job.id)


def end_pauses() -> None:
    """Let what is to be run again later be claimed now."""
    execute("UPDATE queue SET available_at = now()")
