"""Retries: what is not done, queued once more - an ended job's items, a job's own broken step, or
every item that failed for the same reason.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, select, text, update
from sqlalchemy.orm import Session

from shared import metrics
from shared.errors import Conflict
from shared.services import budgets, datasets, jobs, retention
from shared.services.events import add_event
from shared.services.failures import Filter, matching
from shared.services.ledger.accept import add_step
from shared.services.ledger.counters import JobChange, lock_jobs, move_jobs
from shared.services.ledger.trainings import start_waiting
from shared.services.ledger.waiting import enqueue
from shared.states import FINAL_JOB_STATES, DatasetState, JobKind, JobState, Lane, Step
from shared.tables.failure import Failure
from shared.tables.job import Job

_REOPEN = text("""
    UPDATE jobs SET state = 'queued', finished_at = NULL, error = NULL, progress = 0,
        reconciled_at = NULL,
        -- A deadline that has passed would end it again at once.
        deadline = CASE WHEN deadline > now() THEN deadline END
    WHERE id = :job AND state = ANY(:ended)
""")
_AGAIN = text("""
    UPDATE items SET state = 'queued', attempt = 0, crashes = 0, error = NULL, finished_at = NULL
    WHERE job_id = :job AND step = 'run' AND state IN ('failed', 'cancelled', 'expired')
""")
_RECOUNT = text("""
    UPDATE jobs SET queued = queued + :count, failed = 0, cancelled = 0, expired = 0 WHERE id = :job
""")
_FAILED_STEP = text("""
    SELECT step FROM items WHERE job_id = :job AND step <> 'run' AND state = 'failed'
""")
_REOPEN_STEP = text("""
    UPDATE jobs SET state = :state, finished_at = NULL, error = NULL,
        deadline = CASE WHEN deadline > now() THEN deadline END
    WHERE id = :job AND state = 'failed'
""")
_REOPEN_WAITING = text("""
    UPDATE jobs SET state = 'validating', finished_at = NULL, error = NULL
    WHERE id = :job AND state = ANY(:ended)
""")
_FORGET_STEP = text("DELETE FROM items WHERE job_id = :job AND step = :step AND state = 'failed'")


def retry(session: Session, tenant_id: str, id_: str) -> Job:
    """Queue again whatever of an ended job is not done, be it a step of its own.

    Hint its lane after the commit. Raises Conflict when it has not ended or everything is done, and
    BudgetSpent.
    """
    job = jobs.get(session, tenant_id, id_)
    _refuse_outdated(session, job)
    if job.kind == JobKind.TRAINING and job.total == 0:
        return _retry_preparation(session, job)
    step = session.execute(_FAILED_STEP, {"job": id_}).scalar()
    if step is not None and job.state == JobState.FAILED:
        return _retry_step(session, job, Step(step))
    reopened = session.execute(_REOPEN, {"job": id_, "ended": sorted(FINAL_JOB_STATES)})
    if reopened.rowcount == 0:  # type: ignore[attr-defined]
        raise Conflict(f"Job {id_} is {job.state}; it can be retried once it has ended.")
    count = session.execute(_AGAIN, {"job": id_}).rowcount  # type: ignore[attr-defined]
    session.execute(update(Failure).where(Failure.job_id == id_, Failure.ended).values(ended=False))
    if count == 0:
        raise Conflict(f"Every item of job {id_} is done; there is nothing to retry.")
    session.execute(_RECOUNT, {"job": id_, "count": count})
    enqueue(session, id_)
    _count(session, job.lane, count)
    if job.kind == JobKind.INGESTION:
        datasets.prepare_again(session, str(job.dataset_id))
    session.refresh(job)
    budgets.check(session, job)
    return job


def _count(session: Session, lane: str, items: int) -> None:
    metrics.count_at_commit(session, metrics.RETRIES.labels(lane, "user"), items)


def _refuse_outdated(session: Session, job: Job) -> None:
    """Raises Conflict for a job that retention is about to delete, or is deleting."""
    oldest = retention.oldest(session, job.tenant_id)
    if oldest is not None and job.finished_at is not None and job.finished_at < oldest:
        raise Conflict(f"Job {job.id} is past the retention and is being deleted.")


_REOPEN_FOR_SOME = text("""
    UPDATE jobs SET
        state = CASE WHEN state = ANY(:ended) THEN 'queued' ELSE state END,
        finished_at = NULL, error = NULL, reconciled_at = NULL,
        deadline = CASE WHEN deadline > now() THEN deadline END
    WHERE id = :job
""")
_SOME_AGAIN = text("""
    UPDATE items SET state = 'queued', attempt = 0, crashes = 0, error = NULL, finished_at = NULL
    WHERE id = ANY(:items) AND state = 'failed' AND step = 'run'
""")
_NOT_ENDED = text("""
    UPDATE failures SET ended = false WHERE job_id = :job AND item_id = ANY(:items) AND ended
""")
MOST_AT_ONCE = 100_000
"""Failures of one retry: as many as a transaction has done with within seconds."""


@dataclass(frozen=True)
class Retried:
    """What a retry of failures queued again."""

    items: int
    jobs: list[Job]
    more: bool = False
    """There were more than one retry takes: another takes the next."""


def retry_failed(session: Session, tenant_id: str, only: Filter) -> Retried:
    """Queue again the generation items whose failures match, be their job over or not.

    The oldest failures first, up to MOST_AT_ONCE. Hint the jobs' lanes after the commit. Raises
    BudgetSpent.
    """
    oldest = retention.oldest(session, tenant_id)
    chosen = (
        select(Failure.job_id, Failure.item_id)
        .join(Job, Job.id == Failure.job_id)
        .where(*matching(tenant_id, replace(only, ended=True)), *_takes_some(oldest))
    )
    found = session.execute(chosen.order_by(Failure.id).limit(MOST_AT_ONCE + 1)).all()
    by_job: dict[str, list[int]] = defaultdict(list)
    for job_id, item_id in found[:MOST_AT_ONCE]:
        by_job[job_id].append(item_id)
    retried = Retried(0, [], more=len(found) > MOST_AT_ONCE)
    count = 0
    for job_id, item_ids in sorted(by_job.items()):
        again = _retry_some(session, job_id, item_ids, oldest)
        if again:
            count += again
            retried.jobs.append(session.get_one(Job, job_id))
            _count(session, retried.jobs[-1].lane, again)
    # After the last job is locked: a budget locks its tenant, and tenants come after jobs.
    for job in retried.jobs:
        budgets.check(session, job)
    return replace(retried, items=count)


def _takes_some(oldest: datetime | None) -> list[ColumnElement[bool]]:
    """The conditions on a job of which single items may be queued again: one that is just being
    cancelled, or whose results are being written, is left as it is.
    """
    takes: list[ColumnElement[bool]] = [
        Job.kind.in_([JobKind.GENERATION, JobKind.EMBEDDING]),
        Job.state.not_in([JobState.VALIDATING, JobState.CANCELLING, JobState.FINALIZING]),
    ]
    if oldest is not None:
        takes.append((Job.finished_at > oldest).is_not(False))
    return takes


def _retry_some(session: Session, job_id: str, item_ids: list[int], oldest: datetime | None) -> int:
    names = {"job": job_id, "items": item_ids, "ended": sorted(FINAL_JOB_STATES)}
    taken = select(Job.state).where(Job.id == job_id, *_takes_some(oldest))
    state = session.scalar(taken.with_for_update(key_share=True))
    if state is None:
        return 0
    count = session.execute(_SOME_AGAIN, names).rowcount  # type: ignore[attr-defined]
    if count == 0:
        return 0  # another retry was faster
    session.execute(_REOPEN_FOR_SOME, names)
    session.execute(_NOT_ENDED, names)
    move_jobs(session, {job_id: JobChange(Counter(queued=count, failed=-count))})
    if state != JobState.PAUSED:
        enqueue(session, job_id)
    return count


def _retry_preparation(session: Session, job: Job) -> Job:
    """A training whose data sets never became ready: prepare them again and wait for them."""
    wanted = (job.dataset_id, job.validation_dataset_id)
    sets = [datasets.get(session, job.tenant_id, id_) for id_ in wanted if id_ is not None]
    # Before the training, as everywhere; while they are held, no end of theirs reaches it unseen.
    lock_jobs(session, [str(dataset.job_id) for dataset in sets])
    for dataset in sets:
        session.refresh(dataset)
        if dataset.state == DatasetState.FAILED:
            retry(session, job.tenant_id, str(dataset.job_id))
    reopened = session.execute(_REOPEN_WAITING, {"job": job.id, "ended": sorted(FINAL_JOB_STATES)})
    if reopened.rowcount == 0:  # type: ignore[attr-defined]
        raise Conflict(f"Job {job.id} is {job.state}; it can be retried once it has ended.")
    add_event(session, job.id, "state", JobState.VALIDATING)
    start_waiting(session, sets[0])
    session.refresh(job)
    budgets.check(session, job)
    return job


def _retry_step(session: Session, job: Job, step: Step) -> Job:
    state = JobState.VALIDATING if step is Step.VALIDATE else JobState.FINALIZING
    reopened = session.execute(_REOPEN_STEP, {"job": job.id, "state": state})
    if reopened.rowcount == 0:  # type: ignore[attr-defined]
        raise Conflict(f"Job {job.id} is being retried already.")
    session.execute(_FORGET_STEP, {"job": job.id, "step": step})
    add_event(session, job.id, "state", state)
    add_step(session, job, step)
    _count(session, Lane.LIGHT, 1)
    session.refresh(job)
    return job
