"""Failures: why attempts went wrong, and repeating the items that failed for one reason."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, select, text
from sqlalchemy.orm import Session

from shared.services.pages import ALWAYS, Cursor, Page, Period, numbered_within, page, page_of
from shared.states import FailureKind
from shared.tables.failure import Failure

_MOST_LOG = 4000
"""Most characters that are kept of a log."""
_MOST_REASONS = 100
MOST_COUNTED = 10_000
"""Failures that are counted of one reason: more are only told of."""

_RECORD = text("""
    INSERT INTO failures (tenant_id, job_id, item_id, attempt, kind, ended, reason, error, worker,
        log)
    SELECT * FROM jsonb_to_recordset(cast(:rows AS jsonb)) AS row (
        tenant_id text, job_id text, item_id bigint, attempt int, kind text, ended bool,
        reason text, error jsonb, worker text, log text)
""")


# From one reason to the next by the index, as there are few of them and many failures of each. With
# BETWEEN no other index gives the order; with = that of ids does, through all tenants' failures.
_REASONS = text("""
    WITH RECURSIVE reasons AS (
        SELECT min(reason) AS reason FROM failures WHERE tenant_id = :tenant AND ended
        UNION ALL
        SELECT (SELECT min(failures.reason) FROM failures
            WHERE tenant_id = :tenant AND ended AND failures.reason > reasons.reason)
        FROM reasons WHERE reasons.reason IS NOT NULL
    ), first AS (
        SELECT reason FROM reasons WHERE reason IS NOT NULL LIMIT :reasons
    )
    SELECT first.reason, least(counted.items, :most) AS items, counted.jobs,
        failures.error->>'message' AS example, counted.items > :most AS more
    FROM first CROSS JOIN LATERAL (
        SELECT count(*) AS items, count(DISTINCT job_id) AS jobs, max(id) AS latest FROM (
            SELECT id, job_id FROM failures
            WHERE tenant_id = :tenant AND ended
                AND failures.reason BETWEEN first.reason AND first.reason
            ORDER BY failures.reason DESC, id DESC LIMIT :most + 1
        ) AS latest
    ) AS counted JOIN failures ON failures.id = counted.latest
    ORDER BY items DESC, first.reason
""")


@dataclass(frozen=True)
class NewFailure:
    """A failure before it has a row."""

    tenant_id: str
    job_id: str
    item_id: int
    attempt: int
    kind: FailureKind
    ended: bool
    error: dict[str, Any]
    worker: str
    log: str = ""


@dataclass(frozen=True)
class Filter:
    """Which failures of a list are wanted."""

    job_id: str | None = None
    item_id: int | None = None
    reason: str | None = None
    ended: bool | None = None
    kind: FailureKind | None = None
    period: Period = ALWAYS


@dataclass(frozen=True)
class Reason:
    """What items failed of, and how many of them."""

    reason: str
    items: int
    jobs: int
    example: str
    """The latest of their messages."""
    more: bool
    """There are more items, and perhaps jobs, than were counted."""


def record(session: Session, new: Sequence[NewFailure]) -> None:
    """Write failures down, in the transaction that changes their items."""
    if not new:
        return
    rows = [
        asdict(one) | {"reason": reason_of(one.error), "log": one.log[-_MOST_LOG:]} for one in new
    ]
    session.execute(_RECORD, {"rows": json.dumps(rows)})


def reason_of(error: dict[str, Any]) -> str:
    """What equal errors have in common: the code, and for errors of the code the kind of it."""
    if error["code"] != "internal":
        return str(error["code"])
    return f"internal: {str(error['message']).partition(':')[0]}"


def matching(tenant_id: str, only: Filter) -> list[ColumnElement[bool]]:
    """The conditions that a filter means."""
    wanted = {
        Failure.tenant_id: tenant_id,
        Failure.job_id: only.job_id,
        Failure.item_id: only.item_id,
        Failure.reason: only.reason,
        Failure.ended: only.ended,
        Failure.kind: only.kind,
    }
    return [column == value for column, value in wanted.items() if value is not None]


def list_failures(session: Session, tenant_id: str, cursor: Cursor, only: Filter) -> Page[Failure]:
    """A page of a tenant's failures."""
    chosen = select(Failure).where(*matching(tenant_id, only))
    chosen = numbered_within(chosen, Failure, tenant_id, only.period)
    return page(session, chosen, Failure.id, cursor)


def reasons(session: Session, tenant_id: str) -> list[Reason]:
    """Why a tenant's items have failed, the most frequent reasons first.

    What it reads is bounded, however many have failed: of each reason the latest are counted.
    """
    names = {"tenant": tenant_id, "reasons": _MOST_REASONS, "most": MOST_COUNTED}
    return [Reason(*row) for row in session.execute(_REASONS, names)]


def list_reasons(session: Session, tenant_id: str, cursor: Cursor) -> Page[Reason]:
    """A page of them, ordered by how many items failed. Raises NotFound for a reason that is none
    of them, as when all of it was retried since.
    """
    return page_of(reasons(session, tenant_id)[::-1], lambda one: one.reason, cursor)
