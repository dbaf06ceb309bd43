"""Cancellation: what waits ends at once, what runs is asked to stop, what is done stays."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.services.events import add_event
from shared.services.ledger.settle import settle
from shared.services.ledger.waiting import dequeue, end_waiting
from shared.states import ItemState, JobState
from shared.tables.job import Job

_CANCELLING = text("""
    UPDATE jobs SET state = 'cancelling'
    WHERE id = :job AND state IN ('validating', 'queued', 'running', 'paused')
""")


def cancel(session: Session, job: Job) -> bool:
    """Ask a job to end. False: it has ended already, or is writing its result files.

    Workers see by the job's state that their lease is to stop.
    """
    if session.execute(_CANCELLING, {"job": job.id}).rowcount == 0:  # type: ignore[attr-defined]
        return False
    add_event(session, job.id, "state", JobState.CANCELLING)
    dequeue(session, job.id)
    end_waiting(session, job.id, ItemState.CANCELLED)
    settle(session, [job.id])
    return True
