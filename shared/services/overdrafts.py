"""Overdrafts: work that was accepted and finds its budget spent. It waits, and goes on by itself
once there is a new budget, or more of it.

Budgets hold by what work is expected to take (services/budgets.py). What was never measured, or
takes longer than it used to, spends more; the sweeper looks.
"""

from dataclasses import dataclass, field

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


@dataclass
class Found:
    """The ids of jobs about which something is to be done."""

    to_stop: list[str] = field(default_factory=list)
    """Their budget is spent, and they have not stopped."""
    to_go_on: list[str] = field(default_factory=list)
    """They have stopped for their budget, and need not any more."""


def look(session: Session) -> Found:
    """Hold all budgeted work against its budgets, each of them looked at once."""
    found = Found()
    for tenant_id, key_id in session.execute(_ASKERS, {"kinds": _KINDS}).all():
        theirs = _of(tenant_id, key_id)
        if budgets.is_spent(session, tenant_id, key_id):
            active = Job.state.in_([JobState.QUEUED, JobState.RUNNING])
            found.to_stop += session.scalars(theirs.where(active)).all()
        else:
            stopped = theirs.where(Job.state == JobState.PAUSED, Job.over_budget)
            found.to_go_on += session.scalars(stopped).all()
    return found


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
