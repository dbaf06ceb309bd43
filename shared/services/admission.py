"""Admission: what is still to be looked at once a job has its rows - its budgets, and what its
client should be warned of.
"""

from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from shared.db import now
from shared.services import budgets
from shared.services.metrics import workers_by_lane
from shared.services.prices import MEASURED_DAYS, price_of
from shared.services.quotas import Room
from shared.states import JobKind
from shared.tables.job import Job
from shared.tables.model import ModelVersion

_UNKNOWN = f"Nothing like it was measured in the last {MEASURED_DAYS} days"


def admit(session: Session, job: Job, room: Room, version: ModelVersion | None = None) -> None:
    """Check a job that was just accepted against its budgets, and warn of what is to be expected.

    `version` is the model version that it runs. Raises BudgetSpent.
    """
    warn(session, job, version, room.has_budget and budgets.check(session, job))


def warn(session: Session, job: Job, version: ModelVersion | None, has_budget: bool) -> None:
    """Write a job's warnings."""
    warnings = []
    if version is not None and version.card.get("demo_sized"):
        warnings.append("This model is of a demo's size: it was trained only for minutes.")
    if has_budget or job.deadline is not None:
        # Most jobs have neither, and are not held up by an estimate.
        warnings += _of_estimate(session, job, has_budget)
    if warnings:
        job.warnings = warnings
        session.flush()


def _of_estimate(session: Session, job: Job, has_budget: bool) -> list[str]:
    told = estimate(session, job)
    if job.total == 0:
        return []  # its lines are yet to be read
    if told.compute_seconds is None:
        counted = f"{_UNKNOWN}: it counts as 0 compute seconds against the budget until some is."
        return [counted] if has_budget else []
    if job.deadline is None or job.total == 1:
        return []  # a single item starts at once or not at all
    left_s = (job.deadline - now(session)).total_seconds()
    workers = max(1, workers_by_lane(session).get(job.lane, 0))
    if told.compute_seconds / workers <= left_s:
        return []
    return [
        f"The deadline is in {left_s:.0f} s, but the job is expected to take "
        f"{told.compute_seconds:.0f} compute seconds of {workers} worker{'s' * (workers > 1)}: "
        "what has not started by then expires."
    ]


@dataclass(frozen=True)
class Estimate:
    """What a job is expected to take."""

    compute_seconds: float | None
    """None: nothing like it was measured."""
    basis: int = 0
    """Measured items that it rests on."""
    warnings: list[str] = field(default_factory=list)
    """What is to be known of it, beside the job's own warnings."""


def estimate(session: Session, job: Job) -> Estimate:
    """What a job that was just accepted is expected to take, from what was measured."""
    session.flush()
    session.refresh(job)
    if job.kind == JobKind.TRAINING:
        bound = float(job.params["max_seconds"])
        return Estimate(bound, 0, ["compute_seconds is the most that max_seconds allows it."])
    price = price_of(session, job.tenant_id, job.kind, job.family, job.model_version_id)
    if price is None:
        return Estimate(None, 0, [f"{_UNKNOWN}, so it has no price."])
    warnings = []
    if not price.by_version:
        warnings.append(
            f"This version was not measured in the last {MEASURED_DAYS} days; "
            f"the price is that of others of family {job.family}."
        )
    return Estimate(price.compute_seconds * job.cost, price.items, warnings)
