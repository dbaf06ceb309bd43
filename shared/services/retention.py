"""Retention: what is looked through or deleted some time after its job has ended."""

from collections.abc import Sequence

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from shared.services.ledger import flows
from shared.services.ledger.flows import FlowChange
from shared.states import FINAL_JOB_STATES, OUTPUT_KINDS, Step
from shared.tables.failure import Failure
from shared.tables.job import Item, Job
from shared.tables.output import Output
from shared.tables.webhook import WebhookEvent

_AT_ONCE = 50
_ROWS = 10_000
_LATE_S = 24 * 3600
"""No upload of a lost worker comes later than that."""

_FORGET_ITEMS = text("""
    WITH chosen AS (SELECT id FROM items WHERE job_id = :job ORDER BY id LIMIT :most),
    gone AS (DELETE FROM outputs USING chosen WHERE outputs.item_id = chosen.id
        RETURNING outputs.item_id, outputs.bytes),
    freed AS (SELECT items.flow_id, sum(gone.bytes) AS bytes
        FROM gone JOIN items ON items.id = gone.item_id GROUP BY items.flow_id),
    ended AS (DELETE FROM items USING chosen WHERE items.id = chosen.id RETURNING items.id)
    SELECT (SELECT count(*) FROM ended) AS items, freed.flow_id, freed.bytes
    FROM (SELECT 1) one LEFT JOIN freed ON true
""")


def _ago(seconds: float) -> object:
    return func.now() - func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def unreconciled(session: Session) -> Sequence[Job]:
    """Jobs with outputs that ended a day ago, and whose objects nobody has looked through."""
    chosen = select(Job).where(
        Job.kind.in_(OUTPUT_KINDS),
        Job.reconciled_at.is_(None),
        Job.finished_at < _ago(_LATE_S),
    )
    return session.scalars(chosen.order_by(Job.finished_at).limit(_AT_ONCE)).all()


def hold_ended(session: Session, job_id: str) -> bool:
    """Keep a job that ended a day ago from being retried until the transaction is over.

    False: it was retried meanwhile.
    """
    ended = select(Job.id).where(
        Job.id == job_id, Job.state.in_(FINAL_JOB_STATES), Job.finished_at < _ago(_LATE_S)
    )
    return session.scalar(ended.with_for_update(key_share=True)) is not None


def keys_of(session: Session, item_ids: Sequence[int]) -> set[str]:
    """The keys of all objects that the outputs of these items name."""
    return set(session.scalars(select(Output.key).where(Output.item_id.in_(item_ids))))


def items_after(session: Session, job_id: str, last: int, most: int) -> Sequence[int]:
    """The next of a job's items, by number."""
    chosen = select(Item.id).where(Item.job_id == job_id, Item.step == Step.RUN, Item.id > last)
    return session.scalars(chosen.order_by(Item.id).limit(most)).all()


def reconciled(session: Session, job_id: str) -> None:
    """A job's objects are those that its outputs name."""
    session.execute(update(Job).where(Job.id == job_id).values(reconciled_at=func.now()))


def outdated(session: Session, days: float) -> Sequence[Job]:
    """Jobs with outputs that ended so many days ago."""
    chosen = select(Job).where(
        Job.kind.in_(OUTPUT_KINDS),
        Job.state.in_(FINAL_JOB_STATES),
        Job.finished_at < _ago(days * 24 * 3600),
    )
    return session.scalars(chosen.order_by(Job.finished_at).limit(_AT_ONCE)).all()


def forget_items(session: Session, job_id: str) -> bool:
    """Delete some of an ended job's items with their outputs. Returns whether there may be more."""
    ended = select(Job.id).where(Job.id == job_id, Job.state.in_(FINAL_JOB_STATES))
    if session.scalar(ended.with_for_update(key_share=True)) is None:
        return False
    rows = session.execute(_FORGET_ITEMS, {"job": job_id, "most": _ROWS}).all()
    for row in rows:
        if row.flow_id is not None:
            flows.change(session, row.flow_id, FlowChange(bytes=-int(row.bytes)))
    return rows[0].items == _ROWS


def forget_job(session: Session, job_id: str) -> None:
    """Delete a job that has no items any more, with its events and failures."""
    session.execute(delete(Failure).where(Failure.job_id == job_id))
    ended = Job.id == job_id, Job.state.in_(FINAL_JOB_STATES)
    session.execute(delete(Job).where(*ended))


def forget_events(session: Session, days: float) -> None:
    """Delete webhook events, with their deliveries, that are so many days old."""
    session.execute(delete(WebhookEvent).where(WebhookEvent.created_at < _ago(days * 24 * 3600)))
