"""Limits of items in flight: what claims at the same time took beyond a tenant's goes back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.services.ledger import flows
from shared.services.ledger.counters import lock_jobs
from shared.services.ledger.flows import FlowChange
from shared.services.ledger.requeue import Again, requeue
from shared.services.ledger.waiting import RANK
from shared.states import JobState

if TYPE_CHECKING:
    from shared.services.ledger.claim import Claimed

_LOCK_FLOWS = text("SELECT FROM flows WHERE id = ANY(:flows) ORDER BY id FOR UPDATE")

# In a statement of its own: it sees what others committed until all the locks were had. Of each
# flow the first items in its order stay.
_BEYOND = text(f"""
    SELECT placed.id, placed.flow_id, placed.cost, placed.job_state FROM (
        SELECT items.id, items.flow_id, items.cost, jobs.state AS job_state,
            row_number() OVER (PARTITION BY items.flow_id ORDER BY {RANK}, items.id) AS place,
            tenants.max_running - flows.running AS free
        FROM items JOIN jobs ON jobs.id = items.job_id JOIN flows ON flows.id = items.flow_id
        JOIN tenants ON tenants.id = flows.tenant_id
        WHERE items.id = ANY(:items)
    ) placed
    WHERE placed.place > placed.free
""")

_KEEP = text("UPDATE leases SET items = :items WHERE token = :token")
_DROP = text("DELETE FROM leases WHERE token = :token")


def keep_limits(session: Session, token: UUID, items: Sequence["Claimed"]) -> list["Claimed"]:
    """Put back what a claim took beyond its tenants' limits; returns what is left of it.

    Claims look at flows without a lock, so two at once may each fill the room that is there. Those
    with an item of a limited tenant, and no others, lock their flows before they count, and look
    again.
    """
    if not any(item.limited for item in items):
        return list(items)
    lock_jobs(session, {item.job_id for item in items})
    session.execute(_LOCK_FLOWS, {"flows": [item.flow_id for item in items]})
    beyond = {
        row.id: row for row in session.execute(_BEYOND, {"items": [item.id for item in items]})
    }
    if not beyond:
        return list(items)
    # They had waited before this claim, and go on where they were.
    again = [Again(item.id, -item.waited_s, refund=True) for item in items if item.id in beyond]
    requeue(session, token, again)
    for row in beyond.values():
        if row.job_state == JobState.PAUSED:
            # Paused since it was taken: it waits outside the queue.
            flows.change(session, row.flow_id, FlowChange(queued=-1, cost=-row.cost))
    kept = [item for item in items if item.id not in beyond]
    session.execute(_KEEP if kept else _DROP, {"token": token, "items": [item.id for item in kept]})
    return kept
