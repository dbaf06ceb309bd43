"""The sweeper's passes: every one may run at any time, any number at once, and change nothing
twice.
"""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.services.ledger import flows
from shared.services.ledger.requeue import backoff_s, requeue
from shared.services.ledger.settle import settle
from shared.settings import settings
from shared.states import ItemState, Lane, Step

_EXPIRED = text("SELECT token FROM leases WHERE expires_at < now() ORDER BY expires_at LIMIT 100")

_ITEMS = text("""
    SELECT items.id, items.job_id, items.flow_id, items.step, items.crashes, jobs.state AS job_state
    FROM leases JOIN items ON items.id = ANY(leases.items) AND items.lease_token = leases.token
    JOIN jobs ON jobs.id = items.job_id
    WHERE leases.token = :token
    ORDER BY items.id
""")

_TAKE = text("""
    SELECT lane FROM leases WHERE token = :token AND expires_at < now() FOR UPDATE SKIP LOCKED
""")
_DROP = text("DELETE FROM leases WHERE token = :token")

_END = text("""
    UPDATE items SET state = :state, crashes = crashes + 1, lease_token = NULL, finished_at = now(),
        error = cast(:error AS jsonb)
    WHERE id = :item AND lease_token = :token AND state = 'running'
""")

_CRASHED = '{"code": "crashed", "message": "The worker process ended each time it ran this item."}'

_CLAIMABLE = text("""
    SELECT DISTINCT flows.lane FROM flows
    WHERE flows.queued > 0 AND EXISTS (
        SELECT FROM queue WHERE queue.flow_id = flows.id AND queue.available_at <= now())
""")

_FORGET_KEYS = text("DELETE FROM idempotency WHERE created_at < now() - interval '48 hours'")
_FORGET_WORKERS = text("DELETE FROM workers WHERE seen_at < now() - interval '1 hour'")


def expired_leases(session: Session) -> list[UUID]:
    """Tokens of leases whose time is over, oldest first."""
    return list(session.execute(_EXPIRED).scalars())


def recover(session: Session, token: UUID) -> Lane | None:
    """End an expired lease: its items run again, or have failed after too many crashes.

    Returns the lane to hint; None when another sweeper was faster or the lease was renewed after
    all.
    """
    rows = session.execute(_ITEMS, {"token": token}).all()
    flows.lock(session, {row.flow_id for row in rows}, {row.job_id for row in rows})
    lane = session.execute(_TAKE, {"token": token}).scalar_one_or_none()
    if lane is None:
        return None
    flow_changes: dict[int, flows.FlowChange] = {}
    job_changes: dict[str, flows.JobChange] = {}
    for row in rows:
        state = _after_crash(row.crashes, row.job_state)
        if state is ItemState.QUEUED:
            # At once after a first crash: most are a killed process, not the item's fault.
            pause = backoff_s(row.crashes) if row.crashes else 0.0
            requeue(session, [row.id], token, delay_s=pause, crash=True)
        else:
            error = _CRASHED if state is ItemState.FAILED else None
            names = {"item": row.id, "token": token, "state": state, "error": error}
            session.execute(_END, names)
        change = flow_changes.setdefault(row.flow_id, flows.FlowChange())
        change.running -= 1
        change.queued += state is ItemState.QUEUED
        if row.step == Step.RUN:
            counts = job_changes.setdefault(row.job_id, flows.JobChange()).counts
            counts["running"] -= 1
            counts[state] += 1
    session.execute(_DROP, {"token": token})
    flows.move_flows(session, flow_changes)
    flows.move_jobs(session, job_changes)
    settle(session, {row.job_id for row in rows})
    return Lane(lane)


def _after_crash(crashes: int, job_state: str) -> ItemState:
    if job_state == "cancelling":
        return ItemState.CANCELLED
    return ItemState.FAILED if crashes + 1 >= settings().max_crashes else ItemState.QUEUED


def claimable_lanes(session: Session) -> list[Lane]:
    """Lanes with an item that may be claimed now."""
    return [Lane(lane) for lane in session.execute(_CLAIMABLE).scalars()]


def forget(session: Session) -> None:
    """Drop idempotency keys after two days, and workers unseen for an hour."""
    session.execute(_FORGET_KEYS)
    session.execute(_FORGET_WORKERS)
