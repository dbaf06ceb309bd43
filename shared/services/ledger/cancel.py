"""Cancellation: what waits ends at once, what runs is asked to stop, what is done stays."""

from collections import Counter

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.services.events import add_event
from shared.services.ledger import flows, leases
from shared.services.ledger.settle import settle
from shared.states import JobState, Stop
from shared.tables.job import Job

_FLOWS = text("SELECT DISTINCT flow_id FROM items WHERE job_id = :job")

_CANCELLING = text("""
    UPDATE jobs SET state = 'cancelling'
    WHERE id = :job AND state IN ('validating', 'queued', 'running', 'paused')
""")

# Items that a claim is taking at this moment are skipped: they run, and the stop flag ends them.
_DEQUEUE = text("""
    WITH gone AS (
        DELETE FROM queue WHERE ctid = ANY (ARRAY(
            SELECT queue.ctid FROM queue JOIN items ON items.id = queue.item_id
            WHERE items.job_id = :job FOR UPDATE OF queue SKIP LOCKED))
        RETURNING item_id
    )
    UPDATE items SET state = 'cancelled', finished_at = now() FROM gone
    WHERE items.id = gone.item_id AND items.state = 'queued'
    RETURNING items.flow_id, items.step
""")

_RUNNING = text("SELECT id FROM items WHERE job_id = :job AND state = 'running'")


def cancel(session: Session, job: Job) -> bool:
    """Ask a job to end. False: it has ended already, or is writing its result files."""
    flow_ids = set(session.execute(_FLOWS, {"job": job.id}).scalars())
    flows.lock(session, flow_ids, {job.id})
    if session.execute(_CANCELLING, {"job": job.id}).rowcount == 0:  # type: ignore[attr-defined]
        return False
    add_event(session, job.id, "state", JobState.CANCELLING)
    gone = session.execute(_DEQUEUE, {"job": job.id}).all()
    per_flow = Counter(row.flow_id for row in gone)
    counted = sum(row.step == "run" for row in gone)
    flows.move_flows(session, {flow: flows.FlowChange(queued=-n) for flow, n in per_flow.items()})
    change = flows.JobChange(Counter(queued=-counted, cancelled=counted))
    flows.move_jobs(session, {job.id: change})
    running = session.execute(_RUNNING, {"job": job.id}).scalars().all()
    if running:
        leases.ask_items(session, running, Stop.CANCEL)
    settle(session, [job.id])
    return True
