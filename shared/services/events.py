"""Events: what happened to a job, in order, for clients and for the dashboard."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.errors import NotFound
from shared.services.pages import Cursor, Page, page
from shared.states import EventLevel
from shared.tables.job import Event, Job


def add_event(
    session: Session,
    job_id: str,
    type_: str,
    message: str,
    data: dict[str, Any] | None = None,
    level: EventLevel = EventLevel.INFO,
) -> None:
    """Append an event. Types in use: state, progress, metrics, sheet, checkpoint, warning."""
    session.add(
        Event(job_id=job_id, type=type_, message=str(message), data=data or {}, level=level)
    )


def events_of(session: Session, job_id: str, types: Sequence[str]) -> Sequence[Event]:
    """A job's events of some types, oldest first."""
    chosen = select(Event).where(Event.job_id == job_id, Event.type.in_(types))
    return session.scalars(chosen.order_by(Event.id)).all()


def event_of(session: Session, job_id: str, id_: int) -> Event:
    """One event of a job. Raises NotFound."""
    found = session.scalar(select(Event).where(Event.job_id == job_id, Event.id == id_))
    if found is None:
        raise NotFound(f"No event {id_} of job {job_id}.")
    return found


def list_events(
    session: Session, job: Job, cursor: Cursor, types: Sequence[str] | None = None
) -> Page[Event]:
    """A page of a job's events, of some types or of all."""
    chosen = select(Event).where(Event.job_id == job.id)
    if types is not None:
        chosen = chosen.where(Event.type.in_(types))
    return page(session, chosen, Event.id, cursor)
