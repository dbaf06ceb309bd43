"""Claims: which items a worker runs next, and the lease under which it runs them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.services.ledger import flows
from shared.settings import settings
from shared.states import Lane, Stage, Step


@dataclass(frozen=True, slots=True)
class Claimed:
    """One item under a lease."""

    id: int
    job_id: str
    flow_id: int
    tenant_id: str
    kind: str
    step: Step
    seq: int
    custom_id: str | None
    params: dict[str, Any]
    model_version_id: str | None
    attempt: int
    crashes: int


@dataclass(frozen=True)
class Claim:
    """A batch of items of one batch key, and whether the lane has more."""

    lane: Lane
    items: list[Claimed]
    more: bool = False
    token: UUID = field(default_factory=uuid4)


# head: the first item of the flow with the lowest virtual time. own: that flow's items of the same
# batch key. fill: other flows' items of that key, so that a batch is full even when each tenant has
# few. `= ANY(ARRAY(…))` fixes the locked rows before the delete; with IN a plan may lock more than
# the limit. Compared with scalars of `head`, not joined to it, the rows come from the index in
# order; a join would sort the whole queue. Rows that another worker locks are skipped; flows are
# read without a lock, so workers never queue up.
_CLAIM = text("""
    WITH head AS MATERIALIZED (
        SELECT first.flow_id, first.batch_key
        FROM flows
        CROSS JOIN LATERAL (
            SELECT queue.flow_id, queue.batch_key FROM queue
            WHERE queue.flow_id = flows.id AND queue.available_at <= now()
            ORDER BY queue.rank, queue.item_id
            LIMIT 1
        ) first
        WHERE flows.lane = :lane AND flows.queued > 0
        ORDER BY flows.vtime, flows.id
        LIMIT 1
    ), own AS (
        DELETE FROM queue WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM queue
            WHERE batch_key = (SELECT batch_key FROM head)
                AND flow_id = (SELECT flow_id FROM head) AND available_at <= now()
            ORDER BY rank, item_id
            LIMIT :count
            FOR UPDATE SKIP LOCKED
        )) RETURNING item_id, flow_id, cost
    ), fill AS (
        DELETE FROM queue WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM queue
            WHERE batch_key = (SELECT batch_key FROM head)
                AND flow_id <> (SELECT flow_id FROM head) AND available_at <= now()
            ORDER BY flow_id, rank, item_id
            LIMIT (SELECT :count - count(*) FROM own)
            FOR UPDATE SKIP LOCKED
        )) RETURNING item_id, flow_id, cost
    ), got AS (
        SELECT * FROM own UNION ALL SELECT * FROM fill
    ), lease AS (
        INSERT INTO leases (token, worker, lane, items, stage, expires_at)
        SELECT :token, :worker, :lane, array_agg(item_id), :stage,
            now() + make_interval(secs => :lease_s)
        FROM got HAVING count(*) > 0
    ), started AS (
        UPDATE items SET state = 'running', attempt = attempt + 1, lease_token = :token,
            started_at = coalesce(started_at, now())
        FROM got WHERE items.id = got.item_id AND items.state = 'queued'
        RETURNING items.*, got.cost AS charge
    )
    SELECT started.id, started.job_id, started.flow_id, jobs.tenant_id, jobs.kind, started.step,
        started.seq, started.custom_id, started.params, jobs.model_version_id, started.attempt,
        started.crashes, started.charge
    FROM started JOIN jobs ON jobs.id = started.job_id
    ORDER BY started.id
""")

_START_JOBS = text("""
    UPDATE jobs SET state = 'running', started_at = coalesce(started_at, now())
    WHERE id = ANY(:jobs) AND state = 'queued'
    RETURNING id
""")

_STARTED_EVENT = text("""
    INSERT INTO events (job_id, type, message)
    SELECT unnest(cast(:jobs AS text[])), 'state', 'running'
""")

_MORE = text("""
    SELECT EXISTS (
        SELECT FROM flows
        CROSS JOIN LATERAL (
            SELECT FROM queue WHERE flow_id = flows.id AND available_at <= now() LIMIT 1
        ) first
        WHERE lane = :lane AND queued > 0)
""")

# A cancel that came between the choice of rows and this moment saw no lease to flag: flag it here.
_LATE_CANCEL = text("""
    UPDATE leases SET stop = 'cancel' WHERE token = :token AND EXISTS (
        SELECT FROM jobs WHERE id = ANY(:jobs) AND state = 'cancelling')
""")


def claim(session: Session, lane: Lane, worker: str, count: int) -> Claim:
    """Take up to `count` items of one batch key from a lane under a new lease.

    An empty claim has no lease. Never hold the transaction while a model runs.
    """
    token = uuid4()
    names = {"lane": lane, "count": count, "token": token, "worker": worker}
    names |= {"stage": Stage.LOAD, "lease_s": settings().lease_seconds}
    rows = session.execute(_CLAIM, names).all()
    items = [_claimed(row) for row in rows]
    if items:
        _charge(session, [(item, row.charge) for item, row in zip(items, rows, strict=True)])
        jobs = sorted({item.job_id for item in items})
        session.execute(_LATE_CANCEL, {"token": token, "jobs": jobs})
    more = session.execute(_MORE, {"lane": lane}).scalar_one()
    return Claim(lane, items, more, token)


def _claimed(row: Any) -> Claimed:
    told = row._asdict()
    del told["charge"]
    return Claimed(**told | {"step": Step(row.step)})


def _charge(session: Session, taken: list[tuple[Claimed, float]]) -> None:
    """Move the counters of flows and jobs for items that have started."""
    flow_changes: dict[int, flows.FlowChange] = {}
    started: Counter[str] = Counter()
    for item, cost in taken:
        change = flow_changes.setdefault(item.flow_id, flows.FlowChange())
        change.queued -= 1
        change.running += 1
        change.cost += cost
        if item.step is Step.RUN:
            started[item.job_id] += 1
    flows.move_flows(session, flow_changes)
    flows.move_jobs(
        session,
        {job: flows.JobChange(Counter(queued=-n, running=n)) for job, n in started.items()},
    )
    if started:
        newly = session.execute(_START_JOBS, {"jobs": sorted(started)}).scalars().all()
        if newly:
            session.execute(_STARTED_EVENT, {"jobs": newly})
