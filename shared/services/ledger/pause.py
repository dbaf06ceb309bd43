"""Pauses: of a job, whose items leave the queue, and of a lane, from which nothing is claimed."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.services.events import add_event
from shared.services.ledger.waiting import dequeue, enqueue
from shared.states import JobState, Lane
from shared.tables.job import Job

_PAUSE = text("UPDATE jobs SET state = 'paused' WHERE id = :job AND state IN ('queued', 'running')")
_RESUME = text("""
    UPDATE jobs SET over_budget = false,
        state = CASE WHEN started_at IS NULL THEN 'queued' ELSE 'running' END
    WHERE id = :job AND state = 'paused'
    RETURNING state
""")
_PAUSE_LANE = text("INSERT INTO paused_lanes (lane) VALUES (:lane) ON CONFLICT (lane) DO NOTHING")
_RESUME_LANE = text("DELETE FROM paused_lanes WHERE lane = :lane")
_PAUSED_LANES = text("SELECT lane FROM paused_lanes ORDER BY lane")


def pause(session: Session, job: Job) -> bool:
    """Keep a job's items from running until it is resumed. False: it neither waits nor runs.

    Workers see by the job's state that their lease is to stop; what they hold goes back, no attempt
    spent.
    """
    if session.execute(_PAUSE, {"job": job.id}).rowcount == 0:  # type: ignore[attr-defined]
        return False
    add_event(session, job.id, "state", JobState.PAUSED)
    dequeue(session, job.id)
    return True


def resume(session: Session, job: Job) -> bool:
    """Queue a paused job's items again. Hint its lane after the commit. False: it is not paused."""
    state = session.execute(_RESUME, {"job": job.id}).scalar()
    if state is None:
        return False
    add_event(session, job.id, "state", state)
    enqueue(session, job.id)
    return True


def pause_lane(session: Session, lane: Lane) -> None:
    """Have workers claim nothing from a lane, and release what they hold of it."""
    session.execute(_PAUSE_LANE, {"lane": lane})


def resume_lane(session: Session, lane: Lane) -> None:
    """Have a lane served again. Hint it after the commit."""
    session.execute(_RESUME_LANE, {"lane": lane})


def paused_lanes(session: Session) -> list[Lane]:
    """The lanes that are paused."""
    return [Lane(lane) for lane in session.execute(_PAUSED_LANES).scalars()]
