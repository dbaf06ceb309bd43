"""Acceptance: a job's items, and what makes them claimable, in the caller's one transaction."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.services.ledger import flows
from shared.states import Lane, Step
from shared.tables.job import Job


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item before it has a row."""

    params: str = "{}"
    """Its parameters, complete, as JSON."""
    custom_id: str | None = None
    batch_key: str = ""
    cost: float = 1.0


# COPY goes to a table of the transaction's own, because Postgres refuses it under row-level
# security.
_INCOMING = text("""
    CREATE TEMPORARY TABLE incoming (
        seq int, custom_id text, params jsonb, batch_key text, cost real
    ) ON COMMIT DROP
""")

_ENQUEUE = text("""
    WITH added AS (
        INSERT INTO items (job_id, seq, step, custom_id, params, flow_id, priority, batch_key, cost)
        SELECT :job, seq, :step, custom_id, params, :flow, :priority, batch_key, cost
        FROM incoming ORDER BY seq
        RETURNING id, batch_key, cost
    )
    INSERT INTO queue (item_id, flow_id, rank, batch_key, cost)
    SELECT id, :flow, -cast(:priority AS smallint), batch_key, cost FROM added
""")

_GROW = text("UPDATE jobs SET total = total + :count, queued = queued + :count WHERE id = :job")


def add_items(session: Session, job: Job, items: Iterable[NewItem]) -> int:
    """Queue a job's items, streamed by COPY, and count them. Returns how many.

    The items are numbered from the job's `total`. Hint the lane once the transaction has committed.
    """
    session.flush()
    first = session.execute(
        text("SELECT total FROM jobs WHERE id = :job"), {"job": job.id}
    ).scalar_one()
    session.execute(_INCOMING)
    count = _copy(session, _rows(items, first))
    flow = flows.flow_of(session, Lane(job.lane), job.tenant_id)
    _enqueue(session, job, Step.RUN, flow)
    session.execute(_GROW, {"job": job.id, "count": count})
    session.execute(text("DROP TABLE incoming"))
    flows.wake(session, flow, count)
    return count


def add_step(session: Session, job: Job, step: Step) -> None:
    """Queue a step of the job itself on lane `light`; it does not count among the job's items."""
    session.flush()
    session.execute(_INCOMING)
    _copy(session, [(0, None, "{}", job.id, 1.0)])
    flow = flows.flow_of(session, Lane.LIGHT, job.tenant_id)
    _enqueue(session, job, step, flow)
    session.execute(text("DROP TABLE incoming"))
    flows.wake(session, flow, 1)


def _enqueue(session: Session, job: Job, step: Step, flow: int) -> None:
    names = {"job": job.id, "step": step, "flow": flow, "priority": job.priority or 0}
    session.execute(_ENQUEUE, names)


def _rows(items: Iterable[NewItem], first: int) -> Iterator[tuple[Any, ...]]:
    for seq, item in enumerate(items, first):
        yield seq, item.custom_id, item.params, item.batch_key, item.cost


def _copy(session: Session, rows: Iterable[tuple[Any, ...]]) -> int:
    """Stream rows into `incoming`; returns how many there were."""
    connection: Any = session.connection().connection.driver_connection
    count = 0
    with connection.cursor() as cursor, cursor.copy("COPY incoming FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
            count += 1
    return count
