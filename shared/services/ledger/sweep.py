"""The sweeper's passes: every one may run at any time, any number at once, and change nothing
twice.
"""

import json
from collections import Counter, defaultdict
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared import metrics
from shared.services import failures
from shared.services.failures import NewFailure
from shared.services.ledger import flows
from shared.services.ledger.counters import JobChange, lock_jobs, move_jobs
from shared.services.ledger.flows import FlowChange
from shared.services.ledger.requeue import Again, backoff_s, requeue
from shared.services.ledger.settle import settle
from shared.services.ledger.used import JobStep, Used, enter
from shared.settings import settings
from shared.states import FailureKind, ItemState, JobState, Lane, Step

_EXPIRED = text("SELECT token FROM leases WHERE expires_at < now() ORDER BY expires_at LIMIT 100")

_JOBS = text("""
    SELECT DISTINCT items.job_id FROM leases JOIN items ON items.id = ANY(leases.items)
    WHERE leases.token = :token
""")
_ITEMS = text("""
    SELECT items.id, items.job_id, items.flow_id, items.step, items.attempt, items.crashes,
        items.cost, jobs.tenant_id, jobs.state AS job_state
    FROM leases JOIN items ON items.id = ANY(leases.items) AND items.lease_token = leases.token
    JOIN jobs ON jobs.id = items.job_id
    WHERE leases.token = :token AND items.state = 'running'
    ORDER BY items.id
""")
_TAKE = text("""
    SELECT lane, worker, stage, log FROM leases WHERE token = :token AND expires_at < now()
    FOR UPDATE SKIP LOCKED
""")
_DROP = text("DELETE FROM leases WHERE token = :token")

_END = text("""
    UPDATE items SET state = :state, crashes = crashes + 1, lease_token = NULL, finished_at = now(),
        error = cast(:error AS jsonb)
    WHERE id = :item AND lease_token = :token AND state = 'running'
""")


_CLAIMABLE = text("""
    SELECT DISTINCT flows.lane FROM flows
    WHERE flows.queued > 0
        AND NOT EXISTS (SELECT FROM paused_lanes WHERE paused_lanes.lane = flows.lane)
        AND EXISTS (
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
    lock_jobs(session, session.execute(_JOBS, {"token": token}).scalars())
    lease = session.execute(_TAKE, {"token": token}).first()
    if lease is None:
        return None
    rows = session.execute(_ITEMS, {"token": token}).all()
    again: list[Again] = []
    crashed: list[NewFailure] = []
    changes: dict[str, JobChange] = defaultdict(JobChange)
    used: dict[JobStep, Used] = defaultdict(Used)
    became: Counter[ItemState] = Counter()
    for row in rows:
        state = _after_crash(row.crashes, row.job_state)
        became[state] += 1
        if state is ItemState.QUEUED:
            # At once after a first crash: most are a killed process, not the item's fault.
            pause = backoff_s(row.crashes) if row.crashes else 0.0
            again.append(Again(row.id, pause, crash=True))
        else:
            failed = state is ItemState.FAILED
            names = {"item": row.id, "token": token, "state": state}
            error = json.dumps(_crash(lease)) if failed else None
            session.execute(_END, names | {"error": error})
        crashed.append(_failure(lease, row, state))
        waits = state is ItemState.QUEUED and row.job_state != JobState.PAUSED
        back = FlowChange(running=-1, queued=int(waits), cost=row.cost * waits)
        flows.change(session, row.flow_id, back)
        change = changes[row.job_id]
        if row.step == Step.RUN:
            change.counts.update({ItemState.RUNNING: -1, state: 1})
            used[row.job_id, row.step].items_failed += state is ItemState.FAILED
    requeue(session, token, again)
    failures.record(session, crashed)
    session.execute(_DROP, {"token": token})
    moved = move_jobs(session, changes)
    enter(session, used)
    settle(session, [job.id for job in moved if job.queued == job.running == 0])
    _count(session, Lane(lease.lane), became)
    return Lane(lease.lane)


def _count(session: Session, lane: Lane, became: Counter[ItemState]) -> None:
    for state, count in became.items():
        metrics.count_at_commit(session, metrics.ITEMS.labels(lane, state), count)
    again = became[ItemState.QUEUED]
    metrics.count_at_commit(session, metrics.RETRIES.labels(lane, "crash"), again)


def _crash(lease: Any) -> dict[str, Any]:
    message = f"The worker ended each time it ran this item, the last time in stage {lease.stage}."
    return {"code": "crashed", "message": message}


def _failure(lease: Any, row: Any, state: ItemState) -> NewFailure:
    return NewFailure(
        row.tenant_id,
        row.job_id,
        row.id,
        row.attempt,
        FailureKind.CRASH,
        state is ItemState.FAILED,
        _crash(lease),
        lease.worker,
        lease.log,
    )


def _after_crash(crashes: int, job_state: str) -> ItemState:
    if job_state == JobState.CANCELLING:
        return ItemState.CANCELLED
    return ItemState.FAILED if crashes + 1 >= settings().max_crashes else ItemState.QUEUED


def claimable_lanes(session: Session) -> list[Lane]:
    """Lanes with an item that may be claimed now."""
    return [Lane(lane) for lane in session.execute(_CLAIMABLE).scalars()]


def forget(session: Session) -> None:
    """Drop idempotency keys after two days, and workers unseen for an hour."""
    session.execute(_FORGET_KEYS)
    session.execute(_FORGET_WORKERS)
