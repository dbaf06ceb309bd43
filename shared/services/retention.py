"""Retention: what is looked through or deleted some time after its job has ended."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from shared.services.ledger import flows
from shared.services.ledger.flows import FlowChange
from shared.settings import settings
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

# What a tenant has none of its own of is as the settings say; where they say nothing, all is kept.
_KEPT_FROM = """
    now() - make_interval(secs => 86400 * coalesce(tenants.retention_days, cast(:days AS float8)))
"""
_OLDEST = text(f"SELECT {_KEPT_FROM} FROM tenants WHERE id = :tenant")
# Tenant by tenant: a long retention's many old jobs are not read in search of a short one's.
_OUTDATED = text(f"""
    SELECT old.id, tenants.id AS tenant_id
    FROM tenants CROSS JOIN LATERAL (
        SELECT id FROM jobs
        WHERE tenant_id = tenants.id AND kind IN ('generation', 'embedding')
            AND state IN ('succeeded', 'partial', 'failed', 'cancelled', 'expired')
            AND finished_at < {_KEPT_FROM}
        ORDER BY finished_at LIMIT :most
    ) old
    LIMIT :most
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


def oldest(session: Session, tenant_id: str) -> datetime | None:
    """The end of the oldest job that is kept for a tenant; None where all are."""
    return session.execute(_OLDEST, _names() | {"tenant": tenant_id}).scalar()


def outdated(session: Session) -> Sequence[tuple[str, str]]:
    """Some jobs with outputs that are past their tenant's retention: their ids and the tenants'."""
    rows = session.execute(_OUTDATED, _names() | {"most": _AT_ONCE})
    return [(row.id, row.tenant_id) for row in rows]


def _names() -> dict[str, float | None]:
    return {"days": settings().retention_days}


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
