"""Between the model and the database: rows that are made for it, what workers commit, transactions
that are lost, and whether all that is there is as the model says.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from shared.db import transaction
from shared.services.ledger.commit import Done, Failed, Released, Result
from shared.states import ItemState, JobKind, JobState, Lane
from shared.tables.job import Job
from shared.tables.tenant import Tenant
from shared.tables.webhook import Webhook
from tests.ledger import OUTPUT, execute
from tests.shared.services import model
from tests.shared.services.model import ALONE_AFTER, SERVED, Item, Model, Report

ERRORS = {
    Report.BROKEN: {"code": "internal", "message": "ValueError: no such layer"},
    Report.REFUSED: {"code": "invalid_value", "message": "seed: refused"},
    Report.RETRIED: {"code": "internal", "message": "OSError: no route"},
}

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Wanted:
    """What a client asks for."""

    tenant: str
    lane: Lane
    items: list[tuple[str, int]]
    """Batch key and number of outputs of each."""
    priority: int
    age_s: int
    has_deadline: bool
    errors: int
    crashes: int
    """What each of its items has been through already."""


def tenant_of(id_: str, limit: int | None) -> Tenant:
    """One with a limit has a small share, so that its items mostly fill others' batches."""
    return Tenant(id=id_, name=id_, max_running=limit, weight=1.0 if limit is None else 0.1)


def webhook_of(tenant: str) -> Webhook:
    return Webhook(id=tenant, tenant_id=tenant, url="https://example.com", events=["*"], secret="")


def row_of(id_: str, wanted: Wanted) -> Job:
    return Job(
        id=id_,
        tenant_id=wanted.tenant,
        key_id=wanted.tenant,
        kind=JobKind.GENERATION,
        state=JobState.QUEUED,
        lane=wanted.lane,
        priority=wanted.priority,
        created_at=NEW_YEAR - timedelta(seconds=wanted.age_s),
        deadline=datetime.now(UTC) + timedelta(hours=1) if wanted.has_deadline else None,
        webhook_id=wanted.tenant,
    )


_GIVE_PAST = text("""
    WITH tried AS (
        UPDATE items SET attempt = :errors + :crashes, crashes = :crashes,
            batch_key = CASE WHEN :crashes >= :alone_after THEN 'alone:' || id ELSE batch_key END
        WHERE job_id = :job
        RETURNING id, batch_key
    )
    UPDATE queue SET batch_key = tried.batch_key FROM tried WHERE queue.item_id = tried.id
    RETURNING queue.item_id
""")


def give_past(session: Session, job_id: str, wanted: Wanted) -> list[int]:
    """Let a new job's items have been tried before: their limits are near. Returns their ids."""
    names = {"errors": wanted.errors, "crashes": wanted.crashes}
    names |= {"job": job_id, "alone_after": ALONE_AFTER}
    return sorted(session.execute(_GIVE_PAST, names).scalars())


def job_of(row: Job, wanted: Wanted, ids: Sequence[int]) -> model.Job:
    """The same job in the model."""
    rank = int(row.created_at.timestamp()) - 60 * wanted.priority
    job = model.Job(row.id, wanted.tenant, wanted.lane, rank, wanted.has_deadline)
    attempt = wanted.errors + wanted.crashes
    for id_, (batch_key, n) in zip(ids, wanted.items, strict=True):
        if wanted.crashes >= ALONE_AFTER:
            batch_key = f"alone:{id_}"
        item = Item(id_, job, batch_key, n, attempt=attempt, crashes=wanted.crashes)
        job.items.append(item)
    return job


def result_of(item: Item, report: Report) -> Result:
    """What a worker commits of an item."""
    if report is Report.DONE:
        return Done(item.id, [replace(OUTPUT, index=index) for index in range(item.n)])
    if report in ERRORS:
        return Failed(item.id, ERRORS[report], retry=report is Report.RETRIED)
    return Released(item.id, 3600.0 if report is Report.DELAYED else 0.0)


class Fault(StrEnum):
    """What comes between a call of a service and its COMMIT."""

    RAISE = "its process raises"
    CUT = "its connection is cut"


class Lost(Exception):
    """The transaction was not committed."""


@contextmanager
def losing(fault: Fault | None) -> Iterator[Session]:
    """A transaction that is committed unless there is a fault. Raises Lost if there is."""
    try:
        with transaction() as session:
            yield session
            if fault is Fault.RAISE:
                raise Lost
            if fault is Fault.CUT:
                cut(session)
    except OperationalError:
        if fault is not Fault.CUT:
            raise
        raise Lost from None
    assert fault is None, "it was committed without a connection"


def cut(session: Session) -> None:
    """End a session's connection, as a fault of the network would."""
    pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    execute(f"SELECT pg_terminate_backend({pid})")


_ROWS = {
    "items": text("SELECT id, state, attempt, crashes, batch_key, lease_token FROM items"),
    "jobs": text("""
        SELECT id, state, total, queued, running, done, failed, cancelled, expired,
            deadline IS NOT NULL
        FROM jobs
    """),
    "queue": text("SELECT item_id, rank, batch_key, cost, available_at <= now() FROM queue"),
    "leases": text("""
        SELECT token, expires_at < now(), ARRAY(SELECT unnest(items) ORDER BY 1) FROM leases
    """),
    "failures": text("SELECT item_id, reason FROM failures WHERE ended"),
    "announced": text("""
        SELECT job_id, array_agg(cast(body AS json)->'data'->>'state' ORDER BY created_at)
        FROM webhook_events GROUP BY job_id
    """),
}
"""What is compared, its id first."""


def check_rows(session: Session, model: Model) -> None:
    """The tables hold what the model says, and nothing else."""
    for table, expected in _expected(model).items():
        found = {row[0]: tuple(row[1:]) for row in session.execute(_ROWS[table])}
        wrong = {
            id_: (found.get(id_), expected.get(id_))
            for id_ in found.keys() | expected.keys()
            if found.get(id_) != expected.get(id_)
        }
        assert not wrong, f"{table}, as they are and as they should be: {wrong}"


def _expected(model: Model) -> dict[str, dict[Any, tuple[Any, ...]]]:
    """The rows that there have to be, by their ids."""
    items = model.items
    return {
        "items": {item.id: _item_row(item) for item in items},
        "jobs": {
            job.id: (
                job.state,
                len(job.items),
                *(job.counts[state] for state in ItemState),
                job.has_deadline,
            )
            for job in model.jobs
        },
        "queue": {
            item.id: (item.job.rank, item.batch_key, item.n, item.available)
            for job in model.jobs
            if job.state in SERVED
            for item in job.waiting
        },
        "leases": {
            lease.token: (lease.ran_out, [item.id for item in lease.held])
            for lease in model.leases
            if lease.held
        },
        "failures": {item.id: (item.reason,) for item in items if item.state is ItemState.FAILED},
        "announced": {job.id: (job.announced,) for job in model.jobs if job.announced},
    }


def _item_row(item: Item) -> tuple[Any, ...]:
    token = item.lease.token if item.lease else None
    return item.state, item.attempt, item.crashes, item.batch_key, token


def check_claim(model: Model, lane: Lane, count: int, taken: Sequence[Item]) -> None:
    """A claim took only what it may, in order, and as much of one batch key as there was."""
    claimable = model.claimable(lane)
    if not taken:
        assert not claimable, f"{claimable} was left lying"
        return
    [batch_key] = {item.batch_key for item in taken}
    assert batch_key in {waiting[0].batch_key for waiting in claimable.values()}
    most = 0
    for tenant, waiting in claimable.items():
        fits = [item for item in waiting if item.batch_key == batch_key]
        fits = fits[: model.room(lane, tenant)]
        most += len(fits)
        own = [item for item in taken if item.job.tenant == tenant]
        assert set(own) == set(fits[: len(own)]), f"of {tenant}, {fits} goes before {own}"
    assert {item.job.tenant for item in taken} <= claimable.keys()
    assert len(taken) == min(count, most)
