"""Flows: each tenant's queue in a lane, its counters and its virtual time.

Rows are waited for in one order everywhere: jobs (those that prepare data sets before the training
that waits for them, else ascending), leases, tenants, flows (ascending). Flows come last, so that a
tenant's workers hold its one row no longer than a COMMIT takes; only a lane's first flow is made
earlier, before the tenant is locked. For rows of the queue and of items nobody waits: the former
are taken with SKIP LOCKED, and an item is changed by the claim that has just taken its row out of
the queue, or, while it has none there, by whoever holds its job's. So a claim changes items first
and locks their jobs then, and closes no circle with a commit, a cancel, a pause or a sweep.
"""

import json
from dataclasses import dataclass

from sqlalchemy import event, text
from sqlalchemy.orm import Session

from shared.statement import Statement, records
from shared.states import Lane

_FLOW = text("""
    INSERT INTO flows (lane, tenant_id) VALUES (:lane, :tenant)
    ON CONFLICT (lane, tenant_id) DO NOTHING
""")

_FLOW_ID = text("SELECT id FROM flows WHERE lane = :lane AND tenant_id = :tenant")

# A flow that wakes starts where the lane is: at the lowest virtual time of the busy flows or, in an
# idle lane, at the highest of all. The time it slept earns it nothing, whoever else slept too.
MOVED_FLOWS = """
    locked_flows AS (
        SELECT flows.* FROM flows JOIN flow_changes USING (id) ORDER BY flows.id
        FOR UPDATE OF flows
    ), moved_flows AS (
        UPDATE flows SET
            queued = locked.queued + change.queued,
            running = locked.running + change.running,
            -- Sums of fractions drift; an empty queue costs nothing.
            cost = CASE WHEN locked.queued + change.queued > 0 THEN locked.cost + change.cost
                ELSE 0 END,
            bytes = locked.bytes + change.bytes,
            vtime = change.charge / tenants.weight + CASE
                WHEN locked.queued > 0 OR change.queued <= 0 THEN locked.vtime
                ELSE greatest(locked.vtime, (
                    SELECT coalesce(min(vtime) FILTER (WHERE other.queued > 0), max(vtime))
                    FROM wall.flows_of_all other WHERE other.lane = locked.lane))
            END
        FROM flow_changes AS change, locked_flows AS locked, tenants
        WHERE flows.id = change.id AND locked.id = change.id AND tenants.id = locked.tenant_id
    )
"""
"""The part of a statement that adds its `flow_changes` (id and the columns of FlowChange) to flows:
the last that it locks.
"""

_COLUMNS = "id int, queued bigint, running bigint, cost float8, charge float8, bytes bigint"

_MOVE = Statement(
    f"""
    WITH flow_changes AS ({records("flows", _COLUMNS)}), {MOVED_FLOWS}
    SELECT
""",
    tuple,  # of no columns
)

_PENDING = "flow changes"


@dataclass
class FlowChange:
    """What is to be added to one flow."""

    queued: int = 0
    running: int = 0
    cost: float = 0.0
    """Of what is queued."""
    charge: float = 0.0
    """Cost of what it was served."""
    bytes: int = 0
    """Of outputs."""


def flow_of(session: Session, lane: Lane, tenant_id: str) -> int:
    """The id of a tenant's flow in a lane, made at first use."""
    names = {"lane": lane, "tenant": tenant_id}
    found = session.execute(_FLOW_ID, names).scalar_one_or_none()
    if found is None:
        make_flow(session, lane, tenant_id)
        found = session.execute(_FLOW_ID, names).scalar_one()
    return int(found)


def make_flow(session: Session, lane: Lane, tenant_id: str) -> None:
    """Give a tenant a flow in a lane, where it has none."""
    session.execute(_FLOW, {"lane": lane, "tenant": tenant_id})


def change(session: Session, flow_id: int, added: FlowChange) -> None:
    """Add to a flow's counters and charge it, as the last thing before the session commits."""
    pending = session.info.setdefault(_PENDING, {})
    whole = pending.setdefault(flow_id, FlowChange())
    for counter, value in vars(added).items():
        setattr(whole, counter, getattr(whole, counter) + value)


def apply(session: Session) -> None:
    """Make this session's changes of flows now. Lock nothing more after it."""
    changes: dict[int, FlowChange] | None = session.info.get(_PENDING)
    if not changes:
        return
    session.flush()
    rows = [{"id": flow_id, **vars(change)} for flow_id, change in changes.items()]
    _MOVE.rows(session, {"flows": json.dumps(rows)})
    changes.clear()


@event.listens_for(Session, "before_commit")
def _apply_last(session: Session) -> None:
    apply(session)
