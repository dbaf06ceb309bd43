"""Counters of flows and jobs, changed in one lock order everywhere: flows, jobs, leases, items,
each ascending.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.states import Lane

_FLOW = text("""
    INSERT INTO flows (lane, tenant_id) VALUES (:lane, :tenant)
    ON CONFLICT (lane, tenant_id) DO NOTHING
""")

_FLOW_ID = text("SELECT id FROM flows WHERE lane = :lane AND tenant_id = :tenant")

# A flow that wakes starts at the lowest virtual time of the lane's busy flows: the time it slept
# earns it nothing.
_WAKE = text("""
    UPDATE flows SET
        vtime = CASE WHEN queued > 0 OR running > 0 THEN vtime ELSE greatest(vtime, coalesce((
            SELECT min(busy.vtime) FROM flows busy
            WHERE busy.lane = flows.lane AND busy.queued > 0), vtime)) END,
        queued = queued + :count
    WHERE id = :flow
""")

_MOVE_FLOWS = text("""
    WITH change AS (
        SELECT * FROM unnest(
            cast(:flows AS int[]), cast(:queued AS bigint[]), cast(:running AS bigint[]),
            cast(:cost AS float8[])) AS c (id, queued, running, cost)
    ), locked AS (
        SELECT flows.id FROM flows JOIN change USING (id) ORDER BY flows.id FOR UPDATE OF flows
    )
    UPDATE flows SET
        queued = flows.queued + change.queued,
        running = flows.running + change.running,
        vtime = flows.vtime + change.cost / tenants.weight
    FROM change, locked, tenants
    WHERE flows.id = change.id AND locked.id = change.id AND tenants.id = flows.tenant_id
""")

_LOCK_FLOWS = text("SELECT id FROM flows WHERE id = ANY(:ids) ORDER BY id FOR UPDATE")
_LOCK_JOBS = text("SELECT id FROM jobs WHERE id = ANY(:ids) ORDER BY id FOR UPDATE")


@dataclass
class FlowChange:
    """What is to be added to one flow."""

    queued: int = 0
    running: int = 0
    cost: float = 0.0


@dataclass
class JobChange:
    """What is to be added to one job's counters, by item state."""

    counts: Counter[str] = field(default_factory=Counter)
    compute_seconds: float = 0.0


def flow_of(session: Session, lane: Lane, tenant_id: str) -> int:
    """The id of a tenant's flow in a lane, made at first use."""
    names = {"lane": lane, "tenant": tenant_id}
    found = session.execute(_FLOW_ID, names).scalar_one_or_none()
    if found is None:
        session.execute(_FLOW, names)
        found = session.execute(_FLOW_ID, names).scalar_one()
    return int(found)


def wake(session: Session, flow_id: int, count: int) -> None:
    """Add `count` queued items to a flow; the last statement of a transaction that accepts."""
    session.execute(_WAKE, {"flow": flow_id, "count": count})


def lock(session: Session, flow_ids: set[int], job_ids: set[str]) -> None:
    """Take the row locks that a change of counters needs, in the one order."""
    session.execute(_LOCK_FLOWS, {"ids": sorted(flow_ids)})
    session.execute(_LOCK_JOBS, {"ids": sorted(job_ids)})


def move_flows(session: Session, changes: Mapping[int, FlowChange]) -> None:
    """Add to the counters and virtual times of flows."""
    if not changes:
        return
    ids = sorted(changes)
    session.execute(
        _MOVE_FLOWS,
        {
            "flows": ids,
            "queued": [changes[i].queued for i in ids],
            "running": [changes[i].running for i in ids],
            "cost": [changes[i].cost for i in ids],
        },
    )


_MOVE_JOBS = text("""
    WITH change AS (
        SELECT * FROM unnest(
            cast(:jobs AS text[]), cast(:queued AS bigint[]), cast(:running AS bigint[]),
            cast(:done AS bigint[]), cast(:failed AS bigint[]), cast(:cancelled AS bigint[]),
            cast(:expired AS bigint[]), cast(:seconds AS float8[])
        ) AS c (id, queued, running, done, failed, cancelled, expired, seconds)
    ), locked AS (
        SELECT jobs.id FROM jobs JOIN change USING (id) ORDER BY jobs.id FOR UPDATE OF jobs
    )
    UPDATE jobs SET
        queued = jobs.queued + change.queued,
        running = jobs.running + change.running,
        done = jobs.done + change.done,
        failed = jobs.failed + change.failed,
        cancelled = jobs.cancelled + change.cancelled,
        expired = jobs.expired + change.expired,
        compute_seconds = jobs.compute_seconds + change.seconds
    FROM change, locked
    WHERE jobs.id = change.id AND locked.id = change.id
""")

_COUNTED = ("queued", "running", "done", "failed", "cancelled", "expired")


def move_jobs(session: Session, changes: Mapping[str, JobChange]) -> None:
    """Add to the counters of jobs."""
    if not changes:
        return
    ids = sorted(changes)
    counts = {name: [changes[i].counts[name] for i in ids] for name in _COUNTED}
    seconds = [changes[i].compute_seconds for i in ids]
    session.execute(_MOVE_JOBS, {"jobs": ids, "seconds": seconds, **counts})
