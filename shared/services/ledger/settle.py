"""The end of a job: what becomes of it once none of its items waits or runs."""

from collections.abc import Iterable

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from shared.services.events import add_event
from shared.services.ledger.accept import add_step
from shared.services.ledger.trainings import end_waiting
from shared.services.webhooks import announce
from shared.states import EventLevel, JobKind, JobState, Step
from shared.tables.job import Job

_ENDED = text("""
    UPDATE jobs SET state = :state, finished_at = now(), progress = 1
    WHERE id = :job AND state = :expected
""")

_FINALIZING = text("UPDATE jobs SET state = 'finalizing' WHERE id = :job AND state = :expected")

_FIRST_ERROR = text("""
    UPDATE jobs SET error = (
        SELECT error FROM items WHERE job_id = :job AND state = 'failed' ORDER BY seq LIMIT 1)
    WHERE id = :job AND error IS NULL AND total = 1
""")

_NO_DATASET = text("""
    UPDATE datasets SET state = 'failed', report = jsonb_build_object('error', coalesce(
        (SELECT error FROM jobs WHERE id = :job), '{"code": "cancelled", "message": "cancelled"}'))
    WHERE id = :dataset AND state = 'preparing'
""")

_BROKEN_STEP = text("""
    UPDATE jobs SET state = 'failed', error = items.error, finished_at = now()
    FROM items
    WHERE jobs.id = ANY(:jobs) AND jobs.state IN ('validating', 'finalizing')
        AND items.job_id = jobs.id AND items.step <> 'run' AND items.state = 'failed'
    RETURNING jobs.id
""")

_STEP_OPEN = text("""
    NOT EXISTS (SELECT FROM items WHERE items.job_id = jobs.id AND items.step <> 'run'
        AND items.state IN ('queued', 'running'))
""")

_OPEN = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED, JobState.CANCELLING)


def settle(session: Session, job_ids: Iterable[str]) -> bool:
    """End the jobs among these whose items have all ended; their rows are locked by the caller.

    Returns whether a finalizing step was queued, so that its lane can be hinted.
    """
    jobs = sorted(job_ids)
    if not jobs:
        return False
    for job_id in session.execute(_BROKEN_STEP, {"jobs": jobs}).scalars().all():
        add_event(session, job_id, "state", JobState.FAILED, level=EventLevel.ERROR)
        announce(session, session.get_one(Job, job_id), JobState.FAILED)
    ended = session.scalars(
        select(Job)
        .where(
            Job.id.in_(jobs), Job.queued == 0, Job.running == 0, Job.state.in_(_OPEN), _STEP_OPEN
        )
        .execution_options(populate_existing=True)
    ).all()
    finalizing = False
    for job in ended:
        if job.input_file_id is not None and job.total > 0:
            session.execute(_FINALIZING, {"job": job.id, "expected": job.state})
            add_event(session, job.id, "state", JobState.FINALIZING)
            add_step(session, job, Step.FINALIZE)
            finalizing = True
        else:
            end(session, job, JobState(job.state))
    return finalizing


def end(session: Session, job: Job, expected: JobState) -> None:
    """Give a job its final state by its counters; one that still validates has expired."""
    state = _final_state(job, expected)
    session.execute(_FIRST_ERROR, {"job": job.id})
    ended = session.execute(_ENDED, {"job": job.id, "state": state, "expected": expected})
    if ended.rowcount == 0:  # type: ignore[attr-defined]
        return
    if job.kind == JobKind.INGESTION and state is not JobState.SUCCEEDED:
        session.execute(_NO_DATASET, {"dataset": job.dataset_id, "job": job.id})
        end_waiting(session, job, state)
    add_event(session, job.id, "state", state)
    announce(session, job, state)


def _final_state(job: Job, state: JobState) -> JobState:
    if state is JobState.VALIDATING:
        return JobState.EXPIRED
    # A cancel that comes when all is done has lost.
    too_late = job.total > 0 and job.done == job.total
    if job.cancelled > 0 or (state is JobState.CANCELLING and not too_late):
        return JobState.CANCELLED
    if job.expired > 0:
        return JobState.EXPIRED
    if job.done == job.total:
        return JobState.SUCCEEDED
    return JobState.PARTIAL if job.done else JobState.FAILED
