"""Budgets: compute seconds that a tenant, or one of its keys, may use in a calendar month (UTC).

Nothing is accepted that is not expected to fit beside what waits and runs already. What runs is
never ended for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.errors import BudgetSpent
from shared.services.prices import OPEN_JOBS
from shared.services.usage import ALL_USAGE
from shared.tables.job import Job

# Locked, so that what others accept meanwhile is seen: two jobs that fit alone may not fit
# together. Tenants without a budget are neither locked nor counted.
_LIMITS = """
    SELECT tenants.max_compute_seconds AS tenant, keys.max_compute_seconds AS key,
        ARRAY(SELECT id FROM keys other WHERE other.tenant_id = tenants.id
            AND coalesce(other.origin_id, other.id) = coalesce(keys.origin_id, keys.id)) AS keys
    FROM tenants LEFT JOIN keys ON keys.id = :key AND keys.tenant_id = tenants.id
    WHERE tenants.id = :tenant
        AND (tenants.max_compute_seconds IS NOT NULL OR keys.max_compute_seconds IS NOT NULL)
"""
_READ_LIMITS = text(_LIMITS)
_LOCK_LIMITS = text(f"{_LIMITS} FOR NO KEY UPDATE OF tenants")

_STANDING = text(f"""
    WITH open AS ({OPEN_JOBS}), spent AS (
        SELECT key_id, compute_seconds FROM {ALL_USAGE} told
        WHERE tenant_id = :tenant AND day >= date_trunc('month', now() AT TIME ZONE 'UTC')
    )
    SELECT
        (SELECT coalesce(sum(compute_seconds), 0) FROM spent) AS tenant_spent,
        (SELECT coalesce(sum(compute_seconds), 0) FROM spent WHERE key_id = ANY(:keys))
            AS key_spent,
        coalesce(sum(compute_seconds) FILTER (WHERE id <> :job), 0) AS tenant_reserved,
        coalesce(sum(compute_seconds) FILTER (WHERE id <> :job AND key_id = ANY(:keys)), 0)
            AS key_reserved,
        coalesce(sum(compute_seconds) FILTER (WHERE id = :job), 0) AS wanted,
        cast(ceil(extract(epoch FROM date_trunc('month', now() AT TIME ZONE 'UTC')
            + interval '1 month' - (now() AT TIME ZONE 'UTC'))) AS int) AS ends_in_s
    FROM open
""")


@dataclass(frozen=True)
class Budget:
    """How a budget of this month stands, in compute seconds."""

    of: Literal["tenant", "key"]
    limit: int
    spent: float
    reserved: float
    """What is expected of work that waits and runs."""

    @property
    def remaining(self) -> float:
        return max(0.0, self.limit - self.spent - self.reserved)


def standing(session: Session, tenant_id: str, key_id: str | None) -> list[Budget]:
    """The budgets that hold for what a key asks for, as far as there are any."""
    names = {"tenant": tenant_id, "key": key_id}
    limits = session.execute(_READ_LIMITS, names).first()
    return [] if limits is None else _budgets(limits, _stand(session, tenant_id, limits.keys))


def is_spent(session: Session, tenant_id: str, key_id: str | None) -> bool:
    """Whether one of these budgets is spent, so that nothing more is to run."""
    return any(budget.spent >= budget.limit for budget in standing(session, tenant_id, key_id))


def check(session: Session, job: Job, coming: float = 0.0) -> bool:
    """Check that a job, just accepted or queued again, fits into every budget there is.

    `coming` are the compute seconds that items are expected to take which are yet to be queued.
    Returns whether there is a budget; none of the tenant's other jobs is checked until the
    transaction is over. Raises BudgetSpent.
    """
    names = {"tenant": job.tenant_id, "key": job.key_id}
    session.flush()
    limits = session.execute(_LOCK_LIMITS, names).first()
    if limits is None:
        return False
    row = _stand(session, job.tenant_id, limits.keys, job.id)
    wanted = row.wanted + coming
    for budget in _budgets(limits, row):
        if budget.spent >= budget.limit or wanted > budget.remaining:
            raise BudgetSpent(_refusal(budget, wanted), retry_after_s=row.ends_in_s)
    return True


def _stand(session: Session, tenant_id: str, keys: Sequence[str], job_id: str = "") -> Any:
    names = {"tenant": tenant_id, "keys": keys, "job": job_id}
    return session.execute(_STANDING, names).one()


def _budgets(limits: Any, row: Any) -> list[Budget]:
    found = []
    if limits.tenant is not None:
        found.append(Budget("tenant", limits.tenant, row.tenant_spent, row.tenant_reserved))
    if limits.key is not None:
        found.append(Budget("key", limits.key, row.key_spent, row.key_reserved))
    return found


def _refusal(budget: Budget, wanted: float) -> str:
    whose = "your tenant's" if budget.of == "tenant" else "this key's"
    return (
        f"Of {whose} budget of {budget.limit} compute seconds for this month {budget.spent:.1f} "
        f"are spent and {budget.reserved:.1f} expected of what waits and runs; {wanted:.1f} more "
        f"do not fit into the {budget.remaining:.1f} that remain. Ask for less, wait for the next "
        "month, or have the budget raised."
    )
