"""Prices: compute seconds for each unit of cost, as they were measured in the last weeks."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.services.usage import ALL_USAGE

MEASURED_DAYS = 30
"""How far back measurements count: machines change."""

# By version and by family, so that a version that never ran costs what others of its family do.
_PRICED = f"""
    SELECT kind, family, model_version_id, GROUPING(model_version_id) = 0 AS by_version,
        sum(compute_seconds) / sum(cost) AS price, sum(items_done) AS items
    FROM {ALL_USAGE} told
    WHERE tenant_id = :tenant AND day > (now() AT TIME ZONE 'UTC')::date - {MEASURED_DAYS}
    GROUP BY GROUPING SETS ((kind, family, model_version_id), (kind, family))
    HAVING sum(cost) > 0
"""

OPEN_JOBS = f"""
    WITH prices AS MATERIALIZED ({_PRICED})
    SELECT jobs.id, jobs.key_id, CASE
        -- Its budget bounds it, whatever others took.
        WHEN jobs.kind = 'training' AND jobs.state <> 'cancelling'
            THEN greatest(0, (jobs.params->>'max_seconds')::float8 - jobs.compute_seconds)
        ELSE coalesce(version.price, family.price, 0)
            * jobs.cost * (jobs.queued + jobs.running) / greatest(1, jobs.total)
        END AS compute_seconds
    FROM jobs
    LEFT JOIN prices version ON version.by_version AND version.kind = jobs.kind
        AND version.model_version_id = jobs.model_version_id
    LEFT JOIN prices family ON NOT family.by_version AND family.kind = jobs.kind
        AND family.family IS NOT DISTINCT FROM jobs.family
    WHERE jobs.tenant_id = :tenant
        AND jobs.state NOT IN ('succeeded', 'partial', 'failed', 'cancelled', 'expired')
"""
"""A query for what each open job of a tenant is expected to take still; unknown counts as 0."""

_PRICE = text(f"""
    SELECT by_version, price, items FROM ({_PRICED}) prices
    WHERE kind = :kind AND family IS NOT DISTINCT FROM cast(:family AS text)
        AND (NOT by_version OR model_version_id = :version)
    ORDER BY by_version DESC LIMIT 1
""")


@dataclass(frozen=True)
class Price:
    """What a unit of cost takes."""

    compute_seconds: float
    items: int
    """How many it was measured on."""
    by_version: bool
    """Measured on this very model version; otherwise on others of its family."""


def price_of(
    session: Session, tenant_id: str, kind: str, family: str | None, version_id: str | None
) -> Price | None:
    """The price of such a job's items; None when nothing like them was measured."""
    names = {"tenant": tenant_id, "kind": kind, "family": family, "version": version_id}
    row = session.execute(_PRICE, names).first()
    return None if row is None else Price(row.price, int(row.items), row.by_version)
