"""Failures: why attempts went wrong, and repeating the items that failed for one reason."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import Session

from shared.services.pages import Cursor, Page, page
from shared.states import FailureKind
from shared.tables.failure import Failure

_MOST_LOG = 4000
"""Most characters that are kept of a log."""
_MOST_REASONS = 100

_RECORD = text("""
    INSERT INTO failures (tenant_id, job_id, item_id, attempt, kind, ended, reason, error, worker,
        log)
    SELECT * FROM jsonb_to_recordset(cast(:rows AS jsonb)) AS row (
        tenant_id text, job_id text, item_id bigint, attempt int, kind text, ended bool,
        reason text, error jsonb, worker text, log text)
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


@dataclass(frozen=True)
class Reason:
    """What items failed of, and how many of them."""

    reason: str
    items: int
    jobs: int
    example: str
    """The latest of their messages."""


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
    return page(session, chosen, Failure.id, cursor)


def reasons(session: Session, tenant_id: str) -> list[Reason]:
    """Why a tenant's items have failed, the most frequent reasons first."""
    ended = matching(tenant_id, Filter(ended=True))
    counted = (
        select(
            Failure.reason,
            func.count().label("failed"),
            func.count(Failure.job_id.distinct()).label("jobs"),
            func.max(Failure.id).label("latest"),
        )
        .where(*ended)
        .group_by(Failure.reason)
        .order_by(func.count().desc(), Failure.reason)
        .limit(_MOST_REASONS)
        .subquery()
    )
    latest = select(counted, Failure.error).join(Failure, Failure.id == counted.c.latest)
    ordered = latest.order_by(counted.c.failed.desc(), counted.c.reason)
    return [
        Reason(row.reason, row.failed, row.jobs, str(row.error["message"]))
        for row in session.execute(ordered)
    ]
