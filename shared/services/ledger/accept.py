"""Acceptance: a job's items, and what makes them claimable, in the caller's one transaction."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.services.ledger import flows
from shared.services.ledger.flows import FlowChange
from shared.services.ledger.waiting import RANK
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
    form: str | None = None
    """What of its request shapes only the answer, as JSON."""


Row = tuple[int, str | None, str, str, float, str | None]
"""Of an item: seq, custom_id, params, batch_key, cost, form."""

_FEW = 200
"""Items that go into a statement as they are: a table for them would cost more than they do."""

# COPY goes to a table of the transaction's own, because Postgres refuses it under row-level
# security.
_INCOMING = text("""
    CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
        seq int, custom_id text, params jsonb, batch_key text, cost real, form jsonb
    ) ON COMMIT DROP
""")
_EMPTY = text("TRUNCATE incoming")

_CHUNK = 5_000
"""Items that are queued by one statement."""

_ENQUEUE = f"""
    WITH added AS (
        INSERT INTO items (job_id, seq, step, custom_id, params, form, flow_id, batch_key, cost)
        SELECT :job, seq, :step, custom_id, params, form, :flow, batch_key, cost
        FROM {{source}} ORDER BY seq
        RETURNING id, batch_key, cost
    )
    INSERT INTO queue (item_id, flow_id, rank, batch_key, cost)
    SELECT id, :flow, (SELECT {RANK} FROM jobs WHERE jobs.id = :job), batch_key, cost FROM added
"""
_ENQUEUE_MANY = text(_ENQUEUE.format(source="incoming"))
_ENQUEUE_FEW = text(
    _ENQUEUE.format(
        source="""unnest(
            cast(:seqs AS int[]), cast(:custom_ids AS text[]), cast(:params AS jsonb[]),
            cast(:batch_keys AS text[]), cast(:costs AS real[]), cast(:forms AS jsonb[])
        ) AS incoming (seq, custom_id, params, batch_key, cost, form)"""
    )
)

_GROW = text("""
    UPDATE jobs SET total = total + :count, queued = queued + :count, cost = cost + :cost
    WHERE id = :job
""")


def add_items(session: Session, job: Job, items: Iterable[NewItem]) -> int:
    """Queue a job's items, many of them streamed by COPY, and count them. Returns how many.

    The items are numbered from the job's `total`. Hint the lane once the transaction has committed.
    """
    session.flush()
    seq = session.execute(
        text("SELECT total FROM jobs WHERE id = :job"), {"job": job.id}
    ).scalar_one()
    flow = flows.flow_of(session, Lane(job.lane), job.tenant_id)
    count, cost = 0, 0.0
    for chunk in _chunks_ahead(items):
        _enqueue(session, job, Step.RUN, flow, list(_rows(chunk, seq + count)))
        count += len(chunk)
        cost += sum(item.cost for item in chunk)
    session.execute(_GROW, {"job": job.id, "count": count, "cost": cost})
    flows.change(session, flow, FlowChange(queued=count, cost=cost))
    return count


def add_step(session: Session, job: Job, step: Step) -> None:
    """Queue a step of the job itself on lane `light`; it does not count among the job's items."""
    session.flush()
    flow = flows.flow_of(session, Lane.LIGHT, job.tenant_id)
    _enqueue(session, job, step, flow, [(0, None, "{}", job.id, 1.0, None)])
    flows.change(session, flow, FlowChange(queued=1, cost=1.0))


def _chunks_ahead(items: Iterable[NewItem]) -> Iterator[list[NewItem]]:
    """Items in chunks; the next one is made (and checked) while Postgres takes this one."""
    source = iter(items)
    first = list(islice(source, _CHUNK))
    if first:
        yield first
    if len(first) < _CHUNK:
        return
    with ThreadPoolExecutor(1, "chunk") as pool:
        coming = pool.submit(lambda: list(islice(source, _CHUNK)))
        while chunk := coming.result():
            coming = pool.submit(lambda: list(islice(source, _CHUNK)))
            yield chunk


def _rows(items: Iterable[NewItem], first: int) -> Iterator[Row]:
    for seq, item in enumerate(items, first):
        yield seq, item.custom_id, item.params, item.batch_key, item.cost, item.form


def _enqueue(session: Session, job: Job, step: Step, flow: int, rows: Sequence[Row]) -> None:
    names = {"job": job.id, "step": step, "flow": flow}
    if len(rows) > _FEW:
        _copy(session, rows)
        session.execute(_ENQUEUE_MANY, names)
        return
    columns = ("seqs", "custom_ids", "params", "batch_keys", "costs", "forms")
    lists = {
        name: list(values) for name, values in zip(columns, zip(*rows, strict=True), strict=True)
    }
    session.execute(_ENQUEUE_FEW, names | lists)


def _copy(session: Session, rows: Iterable[Row]) -> None:
    session.execute(_INCOMING)
    session.execute(_EMPTY)
    connection: Any = session.connection().connection.driver_connection
    with connection.cursor() as cursor, cursor.copy("COPY incoming FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
