"""Overdrafts: work that was accepted and finds its budget spent. It waits, and goes on by itself
once there is a new budget, or more of it.

Budgets hold by what work is expected to take (services/budgets.py). What was never measured, or
takes longer than it used to, spends more; the sweeper looks.
"""

from collections.abc import Iterator

from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from shared.services import budgets
from shared.services.events import add_event
from shared.services.ledger import pause as ledger_pause
from shared.states import OUTPUT_KINDS, EventLevel, JobState
from shared.tables.job import Job

WARNING = (
    "It waits: the budget of compute seconds for this month is spent. It goes on by itself in the "
    "new month, or when the budget is raised."
)

_KINDS = sorted(OUTPUT_KINDS)
"""A training was accepted for all that it may take; nothing else takes long."""

# By whom budgeted work was asked for that runs, or has waited since its budget was spent.
_ASKERS = text("""
    SELECT DISTINCT jobs.tenant_id, jobs.key_id
    FROM jobs JOIN tenants ON tenants.id = jobs.tenant_id LEFT JOIN keys ON keys.id = jobs.key_id
    WHERE jobs.state NOT IN ('succeeded', 'partial', 'failed', 'cancelled', 'expired')
        AND jobs.kind = ANY(:kinds)
        AND (jobs.over_budget OR tenants.max_compute_seconds IS NOT NULL
            OR keys.max_compute_seconds IS NOT NULL)
""")


def to_stop(session: Session) -> Iterator[str]:
    """The jobs whose budget is spent, and that have not stopped."""
    for tenant_id, key_id, is_spent in _askers(session):
        if is_spent:
            yield from session.scalars(
                _of(tenant_id, key_id).where(Job.state.in_([JobState.QUEUED, JobState.RUNNING]))
            ).all()


def to_go_on(session: Session) -> Iterator[str]:
    """The jobs that have stopped for their budget, and need not any more."""
    for tenant_id, key_id, is_spent in _askers(session):
        if not is_spent:
            yield from session.scalars(
                _of(tenant_id, key_id).where(Job.state == JobState.PAUSED, Job.over_budget)
            ).all()


def _askers(session: Session) -> Iterator[tuple[str, str | None, bool]]:
    for tenant_id, key_id in session.execute(_ASKERS, {"kinds": _KINDS}).all():
        yield tenant_id, key_id, budgets.is_spent(session, tenant_id, key_id)


def _of(tenant_id: str, key_id: str | None) -> Select[str]:
    mine = select(Job.id).where(Job.tenant_id == tenant_id, Job.kind.in_(_KINDS))
    return mine.where(Job.key_id.is_not_distinct_from(key_id)).order_by(Job.id)


def stop(session: Session, job_id: str) -> None:
    """Have a job wait, and say why. What runs of it goes back, no attempt spent."""
    job = session.get_one(Job, job_id)
    if ledger_pause.pause(session, job):
        job.over_budget = True
        add_event(session, job_id, "warning", WARNING, level=EventLevel.WARN)


def go_on(session: Session, job_id: str) -> Job | None:
    """Queue it again. Hint its lane after the commit; None when somebody has done so, or ended
    it.
    """
    job = session.get_one(Job, job_id)
    return job if ledger_pause.resume(session, job) else None
