"""Jobs: looking at them, cancelling, pausing and resuming them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    bindparam,
    literal_column,
    select,
    text,
)
from sqlalchemy.orm import Session

from shared.errors import Conflict, NotFound
from shared.services import budgets, overdrafts
from shared.services.ledger import cancel as ledger_cancel
from shared.services.ledger import flows
from shared.services.ledger import pause as ledger_pause
from shared.services.pages import ALWAYS, Cursor, Page, Period, having, made_within, page
from shared.statement import Statement
from shared.states import JobKind, JobState
from shared.tables.dataset import Dataset
from shared.tables.job import Job

_IN_QUEUE = frozenset({JobState.QUEUED, JobState.RUNNING})
"""States of jobs whose items may be claimed."""

_ENOUGH_TO_TELL = 0.05
"""Of a job: from so much on its pace tells when it ends."""

_AHEAD = """
    SELECT mine.lane, coalesce(sum(least(other.queued, mine.queued)), 0) AS items
    FROM flows mine JOIN wall.flows_of_all other ON other.lane = mine.lane
"""
_AHEAD_IN_LANES = text(
    f"{_AHEAD} WHERE mine.lane = ANY(:lanes) AND mine.tenant_id = :tenant GROUP BY mine.lane"
)
_POSITION = f"""(
    SELECT items FROM (
        {_AHEAD} WHERE mine.lane = jobs.lane AND mine.tenant_id = jobs.tenant_id GROUP BY mine.lane
    ) ahead WHERE jobs.queued > 0 AND jobs.state IN ('queued', 'running')
)"""

# Made once: they are asked for more often than anything else.
_GET = select(Job).where(Job.id == bindparam("id"), Job.tenant_id == bindparam("tenant"))


@dataclass(frozen=True, slots=True)
class Look:
    """What answers tell of a Job, by the names of its columns, and its position."""

    id: str
    kind: str
    state: str
    priority: int
    deadline: datetime | None
    family: str | None
    model: str | None
    dataset_id: str | None
    input_file_id: str | None
    output_file_id: str | None
    error_file_id: str | None
    webhook_id: str | None
    params: dict[str, Any]
    meta: dict[str, str]
    total: int
    queued: int
    running: int
    done: int
    failed: int
    cancelled: int
    expired: int
    progress: float
    compute_seconds: float
    error: dict[str, Any] | None
    warnings: list[str]
    over_budget: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    position: int | None


_LOOKED_AT = [
    *(getattr(Job, field.name) for field in fields(Look) if field.name != "position"),
    literal_column(_POSITION, Integer),
]
_LOOK = Statement(
    select(*_LOOKED_AT).where(Job.id == bindparam("id"), Job.tenant_id == bindparam("tenant")), Look
)


def get(session: Session, tenant_id: str, id_: str, *, param: str | None = None) -> Job:
    """A tenant's job. Raises NotFound."""
    found = session.scalar(_GET, {"id": id_, "tenant": tenant_id})
    if found is None:
        named = f"{param}: no job {id_!r}" if param else f"No job {id_!r}."
        raise NotFound(named, param=param)
    return found


def look(database: Connection, tenant_id: str, id_: str) -> Look:
    """A tenant's job as it stands. Raises NotFound.

    It belongs to no session, which makes it less than half as dear as `get`.
    """
    found = _LOOK.rows(database, {"id": id_, "tenant": tenant_id})
    if not found:
        raise NotFound(f"No job {id_!r}.")
    return found[0]


def state_of(session: Session, tenant_id: str, id_: str) -> JobState:
    """A job's state alone, for who asks again and again. Raises NotFound."""
    state = session.scalar(select(Job.state).where(Job.id == id_, Job.tenant_id == tenant_id))
    if state is None:
        raise NotFound(f"No job {id_!r}.")
    return JobState(state)


@dataclass(frozen=True)
class Filter:
    """Which jobs of a list are wanted."""

    kind: JobKind | None = None
    state: JobState | None = None
    model: str | None = None
    period: Period = ALWAYS
    metadata: str | None = None
    """A name of its metadata, or `name=value`."""
    pairs: tuple[tuple[str, str], ...] = ()
    """Names and values that its metadata has, all of them."""
    dataset_id: str | None = None


def list_jobs(session: Session, tenant_id: str, cursor: Cursor, only: Filter) -> Page[Job]:
    """A page of a tenant's jobs. By metadata it is fast only within a transaction."""
    wanted = {
        Job.kind: only.kind,
        Job.state: only.state,
        Job.model: only.model,
        Job.dataset_id: only.dataset_id,
    }
    chosen = having(select(Job).where(Job.tenant_id == tenant_id), wanted)
    chosen = made_within(chosen, Job, "job", only.period)
    if of_metadata := _of_metadata(only):
        # The index of metadata can be read in no other way; see shared/db.py.
        session.execute(text("SET LOCAL enable_bitmapscan = on"))
        chosen = chosen.where(Job.meta != {}, *of_metadata)
    return page(session, chosen, Job.id, cursor)


def _of_metadata(only: Filter) -> list[ColumnElement[bool]]:
    wanted = [_has(only.metadata)] if only.metadata is not None else []
    return [*wanted, Job.meta.contains(dict(only.pairs))] if only.pairs else wanted


def _has(metadata: str) -> ColumnElement[bool]:
    name, has_value, value = metadata.partition("=")
    return Job.meta.contains({name: value}) if has_value else Job.meta.has_key(name)


def progress(job: Job | Look) -> float:
    """How far a job is, 0 to 1: by its items, or for a job of one long item by what its worker
    says.
    """
    ended = job.done + job.failed + job.cancelled + job.expired
    by_items = ended / job.total if job.total else 0.0
    return by_items if JobKind(job.kind).has_outputs else max(by_items, job.progress)


def expected_end(job: Job | Look) -> datetime | None:
    """About when a running job ends, if it goes on as it did so far; None while that cannot be
    known.
    """
    share = progress(job)
    if job.state != JobState.RUNNING or job.started_at is None or share < _ENOUGH_TO_TELL:
        return None
    now = datetime.now(UTC)
    return now + (now - job.started_at) * ((1 - share) / share)


def warnings(job: Job | Look) -> list[str]:
    """What its client should know."""
    waits = job.over_budget and job.state == JobState.PAUSED
    return [*(job.warnings or []), *([overdrafts.WARNING] if waits else [])]


def position(session: Session, job: Job) -> int | None:
    """About how many items run before this job's last one; None once nothing of it waits.

    An estimate from the flows' counters: each other tenant gets about as many turns as this one.
    """
    return positions(session, [job])[0]


def positions(session: Session, some: Sequence[Job]) -> list[int | None]:
    """The positions of some jobs of one tenant."""
    waiting = {job.id: job for job in some if job.queued and job.state in _IN_QUEUE}
    if not waiting:
        return [None] * len(some)
    flows.apply(session)
    names = {"lanes": sorted({job.lane for job in waiting.values()}), "tenant": some[0].tenant_id}
    ahead = {row.lane: int(row.items) for row in session.execute(_AHEAD_IN_LANES, names)}
    return [ahead[job.lane] if job.id in waiting else None for job in some]


def cancel(session: Session, tenant_id: str, id_: str) -> Job:
    """Ask a job to end. Raises Conflict when it has ended already."""
    job = get(session, tenant_id, id_)
    preparations = _hold_preparations(session, job)
    is_new = ledger_cancel.cancel(session, job)
    for preparation in preparations if is_new else ():
        ledger_cancel.cancel(session, preparation)
    # Another may have changed it since it was read.
    session.refresh(job)
    if not is_new and job.state != JobState.CANCELLING:
        raise Conflict(f"Job {id_} is {job.state}; it cannot be cancelled any more.")
    return job


def _hold_preparations(session: Session, job: Job) -> Sequence[Job]:
    """The jobs that prepare the data sets for which a training waits, locked.

    They are locked before the training, as it is where their own ends reach the training.
    """
    if job.kind != JobKind.TRAINING or job.state != JobState.VALIDATING:
        return ()
    preparing = select(Job).join(Dataset, Dataset.job_id == Job.id)
    mine = preparing.where(Dataset.id.in_([job.dataset_id, job.validation_dataset_id]))
    locked = mine.order_by(Job.id).with_for_update(key_share=True, of=Job)
    return session.scalars(locked).all()


def pause(session: Session, tenant_id: str, id_: str) -> Job:
    """Keep a job from running until it is resumed. Raises Conflict when it neither waits nor
    runs.
    """
    job = get(session, tenant_id, id_)
    is_new = ledger_pause.pause(session, job)
    # Another may have changed it since it was read.
    session.refresh(job)
    if not is_new and job.state != JobState.PAUSED:
        raise Conflict(f"Job {id_} is {job.state}; only a queued or running job can be paused.")
    job.over_budget = False  # it goes on when somebody says so
    session.flush()
    return job


def resume(session: Session, tenant_id: str, id_: str) -> Job:
    """Let a paused job run on. Hint its lane after the commit. Raises Conflict or BudgetSpent."""
    job = get(session, tenant_id, id_)
    is_resumed = ledger_pause.resume(session, job)
    if is_resumed:
        budgets.check(session, job)
    session.refresh(job)
    if not is_resumed:
        raise Conflict(f"Job {id_} is {job.state}; only a paused job can be resumed.")
    return job


_RESULTS = text("UPDATE jobs SET trained_tokens = :tokens, output_file_id = :file WHERE id = :job")


def set_results(session: Session, job_id: str, tokens: int | None, file_id: str | None) -> None:
    """Say what a training that has succeeded leaves beside its model: how many tokens it learnt
    from, and the file of its losses.
    """
    session.execute(_RESULTS, {"job": job_id, "tokens": tokens, "file": file_id})


_PROGRESS = text("UPDATE jobs SET progress = :progress WHERE id = :job AND state = 'running'")


def set_progress(session: Session, job_id: str, progress: float) -> None:
    """Say how far a job of one long item is, 0 to 1."""
    session.execute(_PROGRESS, {"job": job_id, "progress": min(1.0, progress)})
