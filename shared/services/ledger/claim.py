"""Claims: which items a worker runs next, and the lease under which it runs them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from shared.services.events import add_event
from shared.services.ledger.counters import MOVED_JOBS
from shared.services.ledger.flows import MOVED_FLOWS
from shared.services.ledger.in_flight import keep_limits
from shared.settings import settings
from shared.statement import Statement
from shared.states import JobState, Lane, Stage


@dataclass(frozen=True, slots=True)
class Claimed:
    """One item under a lease; the columns of `_CLAIM` in their order."""

    id: int
    job_id: str
    flow_id: int
    tenant_id: str
    kind: str
    step: str
    """A member of shared.states.Step."""
    seq: int
    custom_id: str | None
    params: dict[str, Any]
    form: dict[str, Any] | None
    model_version_id: str | None
    request_id: str | None
    attempt: int
    crashes: int
    weight: float
    """Of its tenant."""
    limited: bool
    """Its tenant may run only so many at once."""
    waited_s: float
    """Since it might be claimed."""


@dataclass(frozen=True)
class Claim:
    """A batch of items of one batch key, and whether the lane has more."""

    lane: Lane
    items: list[Claimed]
    more: bool = False
    token: UUID = field(default_factory=uuid4)

    @property
    def ids(self) -> dict[str, str]:
        """What log lines about it name."""
        told = {
            "request": {item.request_id for item in self.items if item.request_id},
            "job": {item.job_id for item in self.items},
            "items": {str(item.id) for item in self.items},
        }
        return {noun: ",".join(sorted(ids)) for noun, ids in told.items() if ids}


_LEAD = 64.0
"""Cost by which a flow whose model a worker holds in memory may run ahead of the others: a model is
loaded at most once for so much work, and shares differ by no more than that.
"""

_TRIES = 3
"""Claims before a lane counts as empty while others take what was looked at."""

# The lane's flows that have room, in the order in which they are served.
_ROOM = """
    SELECT flows.id, flows.vtime, coalesce(tenants.max_running - flows.running, :count) AS free
    FROM flows JOIN tenants ON tenants.id = flows.tenant_id
    WHERE flows.lane = :lane AND flows.queued > 0
        AND flows.running < coalesce(tenants.max_running, flows.running + 1)
        AND NOT EXISTS (SELECT FROM paused_lanes WHERE paused_lanes.lane = :lane)
    ORDER BY flows.vtime, flows.id
"""

# head: the first item of the flow with the lowest virtual time, or of one near to it whose model is
# warm. own: that flow's items of the same batch key. fill: other flows' items of that key, so that
# a batch is full even when each tenant has few. `= ANY(ARRAY(…))` fixes the locked rows before the
# delete; with IN a plan may lock more than the limit. Compared with scalars of `head`, not joined
# to it, the rows come from the index in order; a join would sort the whole queue. Rows that another
# worker locks are skipped; flows are read without a lock, so workers never queue up, and limits are
# looked at again where there are some. Nobody waits for the disk: a claim that a crash of Postgres
# takes back has its items in the queue again, and whoever runs them finds that it has no lease.
_CLAIM = Statement(
    f"""
    WITH firsts AS MATERIALIZED (
        SELECT room.id, room.vtime, room.free, first.batch_key
        FROM ({_ROOM}) room CROSS JOIN LATERAL (
            SELECT batch_key FROM queue WHERE flow_id = room.id AND available_at <= now()
            ORDER BY rank, item_id LIMIT 1
        ) first
        ORDER BY room.vtime, room.id LIMIT 8
    ), head AS MATERIALIZED (
        SELECT id, free, batch_key FROM firsts
        ORDER BY vtime - CASE WHEN split_part(batch_key, ':', 1) = ANY(cast(:warm AS text[]))
            THEN :lead ELSE 0 END, vtime, id
        LIMIT 1
    ), own AS (
        DELETE FROM queue WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM queue
            WHERE batch_key = (SELECT batch_key FROM head)
                AND flow_id = (SELECT id FROM head) AND available_at <= now()
            ORDER BY rank, item_id
            LIMIT (SELECT least(:count, free) FROM head)
            FOR UPDATE SKIP LOCKED
        )) RETURNING item_id, flow_id, cost, available_at
    ), fill AS (
        DELETE FROM queue WHERE ctid = ANY (ARRAY(
            SELECT other.ctid FROM ({_ROOM} LIMIT 32) room CROSS JOIN LATERAL (
                SELECT ctid FROM queue
                WHERE batch_key = (SELECT batch_key FROM head)
                    AND flow_id = room.id AND available_at <= now()
                ORDER BY rank, item_id
                LIMIT least(room.free, (SELECT :count - count(*) FROM own))
                FOR UPDATE SKIP LOCKED
            ) other
            WHERE room.id <> (SELECT id FROM head)
            LIMIT (SELECT :count - count(*) FROM own)
        )) RETURNING item_id, flow_id, cost, available_at
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
        RETURNING items.*, got.available_at
    )
    SELECT started.id, started.job_id, started.flow_id, jobs.tenant_id, jobs.kind, started.step,
        started.seq, started.custom_id, started.params, started.form,
        jobs.model_version_id, jobs.request_id, started.attempt, started.crashes, tenants.weight,
        tenants.max_running IS NOT NULL AS limited,
        cast(extract(epoch FROM now() - started.available_at) AS float8) AS waited_s
    FROM started JOIN jobs ON jobs.id = started.job_id JOIN tenants ON tenants.id = jobs.tenant_id
    CROSS JOIN set_config('synchronous_commit', 'off', true)
    ORDER BY started.id
""",
    Claimed,
)

# In a statement of its own: where workers wait for each other's counters, Postgres starts its plan
# anew, and this one is small. Flows come after jobs, as everywhere.
_COUNT = Statement(
    f"""
    WITH job_changes AS (
        SELECT job_id AS id, -count(*) AS queued, count(*) AS running, 0 AS done, 0 AS failed,
            0 AS cancelled, 0 AS expired, 0 AS seconds
        FROM items WHERE id = ANY(:items) AND step = 'run' GROUP BY job_id
    ), {MOVED_JOBS}, flow_changes AS (
        SELECT flow_id AS id, -count(*) AS queued, count(*) AS running, -sum(cost) AS cost,
            sum(cost) AS charge, 0 AS bytes
        FROM items WHERE id = ANY(:items) GROUP BY flow_id
        HAVING (SELECT count(*) FROM moved_jobs) >= 0
    ), {MOVED_FLOWS}
    SELECT id FROM moved_jobs WHERE was = 'queued'
""",
    str,
)

_MORE = Statement(
    f"""
    SELECT EXISTS (
        SELECT FROM ({_ROOM}) room CROSS JOIN LATERAL (
            SELECT FROM queue WHERE flow_id = room.id AND available_at <= now() LIMIT 1
        ) first)
""",
    bool,
)


def claim(session: Session, lane: Lane, worker: str, count: int, warm: Sequence[str] = ()) -> Claim:
    """Take up to `count` items of one batch key from a lane under a new lease.

    `warm` are the model versions that the worker holds in memory. An empty claim has no lease; if
    there is more all the same, another transaction finds it. Never hold one while a model runs.
    """
    token = uuid4()
    names = {"lane": lane, "count": count, "token": token, "worker": worker, "warm": list(warm)}
    names |= {"lead": _LEAD, "stage": Stage.LOAD, "lease_s": settings().lease_seconds}
    for _ in range(_TRIES):
        found = _CLAIM.rows(session, names)
        items = keep_limits(session, token, found)
        # After a full batch nobody need ask: a hint too many costs less.
        more = len(items) == count or _MORE.rows(session, names) == [True]
        if found or not more:
            break
    if items:
        for job_id in _COUNT.rows(session, {"items": [item.id for item in items]}):
            add_event(session, job_id, "state", JobState.RUNNING)
    return Claim(lane, items, more, token)
