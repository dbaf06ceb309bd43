"""Acceptance: a job's items, and what makes them claimable, in the caller's one transaction."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from sqlalchemy import inspect, text
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from shared import metrics
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
"""Most items that are queued by one statement."""
_CHUNK_CHARACTERS = 4 * 1024 * 1024
"""Of their parameters: long ones are queued in smaller chunks, so that memory stays flat."""

_QUEUE = f"""
    added AS (
        INSERT INTO items (job_id, seq, step, custom_id, params, form, flow_id, batch_key, cost)
        SELECT :job, seq, :step, custom_id, params, form, {{flow}}, batch_key, cost
        FROM {{source}} ORDER BY seq
        RETURNING id, flow_id, batch_key, cost
    ), queued AS (
        INSERT INTO queue (item_id, flow_id, rank, batch_key, cost)
        SELECT id, flow_id, (SELECT {RANK} FROM jobs WHERE jobs.id = :job), batch_key, cost
        FROM added
    )
"""
_ENQUEUE_MANY = text(f"WITH {_QUEUE.format(flow=':flow', source='incoming')} SELECT")
# Without a flow nothing is queued, and no row is returned.
_ENQUEUE_FEW = text(f"""
    WITH flow AS (
        SELECT id FROM flows WHERE lane = :lane AND tenant_id = :tenant
    ), incoming AS (
        SELECT * FROM unnest(
            cast(:seqs AS int[]), cast(:custom_ids AS text[]), cast(:params AS jsonb[]),
            cast(:batch_keys AS text[]), cast(:costs AS real[]), cast(:forms AS jsonb[])
        ) AS incoming (seq, custom_id, params, batch_key, cost, form)
    ), {_QUEUE.format(flow="flow.id", source="incoming, flow")}
    SELECT id FROM flow
""")

_GROW = text("""
    UPDATE jobs SET total = total + :count, queued = queued + :count, cost = cost + :cost
    WHERE id = :job RETURNING total, queued, cost
""")


def add_items(session: Session, job: Job, items: Iterable[NewItem]) -> int:
    """Queue a job's items, many of them streamed by COPY, and count them. Returns how many.

    The items are numbered from the job's `total`. Hint the lane once the transaction has committed.
    """
    source = iter(items)
    few = list(islice(source, _FEW + 1))
    if len(few) <= _FEW and inspect(job).pending:
        count = _add_few(session, job, few)
    else:
        count = _add_many(session, job, chain(few, source))
    metrics.count_at_commit(session, metrics.ACCEPTED.labels(job.lane), count)
    return count


def _add_few(session: Session, job: Job, items: Sequence[NewItem]) -> int:
    """Of a job whose row is yet to be written, so that it is written once."""
    count, cost = len(items), sum(item.cost for item in items)
    job.total, job.queued, job.cost = count, count, cost
    session.flush()
    flow = _enqueue_few(session, job, Lane(job.lane), Step.RUN, list(_rows(items, 0)))
    flows.change(session, flow, FlowChange(queued=count, cost=cost))
    return count


def _add_many(session: Session, job: Job, items: Iterable[NewItem]) -> int:
    session.flush()
    seq = session.execute(
        text("SELECT total FROM jobs WHERE id = :job"), {"job": job.id}
    ).scalar_one()
    lane = Lane(job.lane)
    flow = flows.flow_of(session, lane, job.tenant_id)
    count, cost = 0, 0.0
    for chunk in _chunks_ahead(items):
        rows = list(_rows(chunk, seq + count))
        if len(rows) <= _FEW:
            _enqueue_few(session, job, lane, Step.RUN, rows)
        else:
            _copy(session, rows)
            session.execute(_ENQUEUE_MANY, {"job": job.id, "step": Step.RUN, "flow": flow})
        count += len(chunk)
        cost += sum(item.cost for item in chunk)
    grown = session.execute(_GROW, {"job": job.id, "count": count, "cost": cost}).one()
    for name, value in grown._mapping.items():
        set_committed_value(job, name, value)
    flows.change(session, flow, FlowChange(queued=count, cost=cost))
    return count


def add_step(session: Session, job: Job, step: Step) -> None:
    """Queue a step of the job itself on lane `light`; it does not count among the job's items."""
    session.flush()
    flow = _enqueue_few(session, job, Lane.LIGHT, step, [(0, None, "{}", job.id, 1.0, None)])
    flows.change(session, flow, FlowChange(queued=1, cost=1.0))


def _chunks_ahead(items: Iterable[NewItem]) -> Iterator[list[NewItem]]:
    """Items in chunks; the next one is made (and checked) while Postgres takes this one."""
    source = iter(items)
    chunk, is_last = _chunk(source)
    if is_last:
        if chunk:
            yield chunk
        return
    with ThreadPoolExecutor(1, "chunk") as pool:
        while chunk:
            coming = pool.submit(_chunk, source)
            yield chunk
            chunk, _ = coming.result()


def _chunk(source: Iterator[NewItem]) -> tuple[list[NewItem], bool]:
    """The next items, and whether they are the last ones."""
    chunk: list[NewItem] = []
    size = 0
    for item in source:
        chunk.append(item)
        size += len(item.params)
        if len(chunk) == _CHUNK or size >= _CHUNK_CHARACTERS:
            return chunk, False
    return chunk, True


def _rows(items: Iterable[NewItem], first: int) -> Iterator[Row]:
    for seq, item in enumerate(items, first):
        yield seq, item.custom_id, item.params, item.batch_key, item.cost, item.form


def _enqueue_few(session: Session, job: Job, lane: Lane, step: Step, rows: Sequence[Row]) -> int:
    """Queue rows by one statement. Returns the flow in which they wait."""
    columns = ("seqs", "custom_ids", "params", "batch_keys", "costs", "forms")
    lists = {
        name: list(values) for name, values in zip(columns, zip(*rows, strict=True), strict=True)
    }
    names = {"job": job.id, "tenant": job.tenant_id, "lane": lane, "step": step}
    flow = session.execute(_ENQUEUE_FEW, names | lists).scalar_one_or_none()
    if flow is None:
        flows.make_flow(session, lane, job.tenant_id)
        flow = session.execute(_ENQUEUE_FEW, names | lists).scalar_one()
    return int(flow)


def _copy(session: Session, rows: Iterable[Row]) -> None:
    session.execute(_INCOMING)
    session.execute(_EMPTY)
    connection: Any = session.connection().connection.driver_connection
    with connection.cursor() as cursor, cursor.copy("COPY incoming FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
