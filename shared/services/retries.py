"""Retries: an ended job's items that are not done, or its own broken step, queued once more."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.errors import Conflict
from shared.services import datasets, jobs
from shared.services.events import add_event
from shared.services.ledger.accept import add_step
from shared.services.ledger.waiting import enqueue
from shared.states import FINAL_JOB_STATES, JobKind, JobState, Step
from shared.tables.job import Job

_REOPEN = text("""
    UPDATE jobs SET state = 'queued', finished_at = NULL, error = NULL, progress = 0,
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
    UPDATE jobs SET state = :state, finished_at = NULL, error = NULL
    WHERE id = :job AND state = 'failed'
""")
_FORGET_STEP = text("DELETE FROM items WHERE job_id = :job AND step = :step AND state = 'failed'")


def retry(session: Session, tenant_id: str, id_: str) -> Job:
    """Queue again whatever of an ended job is not done, be it a step of its own.

    Hint its lane after the commit. Raises Conflict when it has not ended or everything is done.
    """
    job = jobs.get(session, tenant_id, id_)
    step = session.execute(_FAILED_STEP, {"job": id_}).scalar()
    if step is not None and job.state == JobState.FAILED:
        return _retry_step(session, job, Step(step))
    reopened = session.execute(_REOPEN, {"job": id_, "ended": sorted(FINAL_JOB_STATES)})
    if reopened.rowcount == 0:  # type: ignore[attr-defined]
        raise Conflict(f"Job {id_} is {job.state}; it can be retried once it has ended.")
    count = session.execute(_AGAIN, {"job": id_}).rowcount  # type: ignore[attr-defined]
    if count == 0:
        raise Conflict(f"Every item of job {id_} is done; there is nothing to retry.")
    session.execute(_RECOUNT, {"job": id_, "count": count})
    enqueue(session, id_)
    if job.kind == JobKind.INGESTION:
        datasets.prepare_again(session, str(job.dataset_id))
    session.refresh(job)
    return job


def _retry_step(session: Session, job: Job, step: Step) -> Job:
    state = JobState.VALIDATING if step is Step.VALIDATE else JobState.FINALIZING
    session.execute(_REOPEN_STEP, {"job": job.id, "state": state})
    session.execute(_FORGET_STEP, {"job": job.id, "step": step})
    add_event(session, job.id, "state", state)
    add_step(session, job, step)
    session.refresh(job)
    return job
