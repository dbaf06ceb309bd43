"""Deadlines: what has not started when one passes ends as expired; what runs is finished."""

from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session

from shared.services.events import add_event
from shared.services.ledger.settle import end, settle
from shared.services.ledger.waiting import dequeue, end_waiting
from shared.states import EventLevel, ItemState, JobState
from shared.tables.job import Job

_AT_ONCE = 100
_MESSAGE = "the deadline passed; what had not started has expired"
_OPEN = (JobState.VALIDATING, JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)

# Jobs that only finish what runs have nothing to expire: an item that comes back to the queue
# after the deadline makes its job overdue again.
_IS_OVERDUE = (
    Job.deadline < func.now(),
    Job.state.in_(_OPEN),
    or_(Job.queued > 0, Job.state == JobState.VALIDATING),
)
_VALIDATES = text("""
    SELECT EXISTS (SELECT FROM items WHERE job_id = :job AND state IN ('queued', 'running'))
""")


def overdue_jobs(session: Session) -> list[str]:
    """Jobs whose deadline has passed while something of them waits."""
    chosen = select(Job.id).where(*_IS_OVERDUE).order_by(Job.deadline).limit(_AT_ONCE)
    return list(session.scalars(chosen))


def expire(session: Session, job_id: str) -> None:
    """End what waits of an overdue job."""
    job = session.scalars(
        select(Job).where(Job.id == job_id, *_IS_OVERDUE).with_for_update(key_share=True)
    ).first()
    if job is None:
        return
    dequeue(session, job_id)
    end_waiting(session, job_id, ItemState.EXPIRED)
    if job.state != JobState.VALIDATING:
        add_event(session, job_id, "warning", _MESSAGE, level=EventLevel.WARN)
        settle(session, [job_id])
    elif not session.execute(_VALIDATES, {"job": job_id}).scalar_one():
        add_event(session, job_id, "warning", _MESSAGE, level=EventLevel.WARN)
        end(session, job, JobState.VALIDATING)
