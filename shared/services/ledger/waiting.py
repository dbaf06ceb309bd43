"""A job's items that wait: taken out of the queue, ended there, or put back into it."""

from collections import Counter

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.services.ledger import flows
from shared.services.ledger.counters import JobChange, move_jobs
from shared.services.ledger.flows import FlowChange
from shared.states import ItemState, Step

AGEING_S = 60
"""How much sooner one point of priority lets a job's items run: it overtakes what its tenant
submitted up to so many seconds before, and nothing older, so that nothing waits for ever.
"""

RANK = f"(extract(epoch FROM jobs.created_at) - {AGEING_S} * jobs.priority)::int"
"""Where a job's items stand in their flow: lower goes first."""

# Items that a claim is taking at this moment are skipped: they run, and their lease is stopped.
_DEQUEUE = text("""
    WITH gone AS (
        DELETE FROM queue WHERE ctid = ANY (ARRAY(
            SELECT queue.ctid FROM queue JOIN items ON items.id = queue.item_id
            WHERE items.job_id = :job FOR UPDATE OF queue SKIP LOCKED))
        RETURNING flow_id, cost
    )
    SELECT flow_id, count(*) AS items, sum(cost) AS cost FROM gone GROUP BY flow_id
""")

_END = text("""
    WITH ended AS (
        UPDATE items SET state = :state, finished_at = now()
        WHERE job_id = :job AND state = 'queued'
            AND NOT EXISTS (SELECT FROM queue WHERE queue.item_id = items.id)
        RETURNING step
    )
    SELECT step, count(*) AS items FROM ended GROUP BY step
""")

_ENQUEUE = text(f"""
    WITH added AS (
        INSERT INTO queue (item_id, flow_id, rank, batch_key, cost)
        SELECT items.id, items.flow_id, {RANK}, items.batch_key, items.cost
        FROM items JOIN jobs ON jobs.id = items.job_id
        WHERE items.job_id = :job AND items.state = 'queued'
            AND NOT EXISTS (SELECT FROM queue WHERE queue.item_id = items.id)
        RETURNING flow_id, cost
    )
    SELECT flow_id, count(*) AS items, sum(cost) AS cost FROM added GROUP BY flow_id
""")


def dequeue(session: Session, job_id: str) -> None:
    """Take a job's waiting items out of the queue; their state stays. Its row is locked."""
    for row in session.execute(_DEQUEUE, {"job": job_id}).all():
        flows.change(session, row.flow_id, FlowChange(queued=-row.items, cost=-row.cost))


def end_waiting(session: Session, job_id: str, state: ItemState) -> None:
    """End a job's items that wait and stand in no queue any more. Its row is locked."""
    rows = session.execute(_END, {"job": job_id, "state": state}).all()
    counted = {row.step: row.items for row in rows}.get(Step.RUN, 0)
    change = JobChange(Counter({str(ItemState.QUEUED): -counted, str(state): counted}))
    move_jobs(session, {job_id: change})


def enqueue(session: Session, job_id: str) -> None:
    """Put a job's waiting items into the queue. Its row is locked."""
    for row in session.execute(_ENQUEUE, {"job": job_id}).all():
        flows.change(session, row.flow_id, FlowChange(queued=row.items, cost=row.cost))
