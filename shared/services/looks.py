"""Looking at jobs: how far each is, what runs before it, and when it ends."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Integer, bindparam, literal_column, select, text
from sqlalchemy.orm import Session

from shared.errors import NotFound
from shared.services import overdrafts
from shared.services.ledger import flows
from shared.statement import Statement
from shared.states import JobKind, JobState
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


def look(database: Connection, tenant_id: str, id_: str) -> Look:
    """A tenant's job as it stands. Raises NotFound.

    It belongs to no session, which makes it less than half as dear as `get`.
    """
    found = _LOOK.rows(database, {"id": id_, "tenant": tenant_id})
    if not found:
        raise NotFound(f"No job {id_!r}.")
    return found[0]


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
