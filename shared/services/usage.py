"""Usage: summed up by day, key and model, and told; what commits have just entered counts at once.

The numbers are sums over a few rows a day, however many items a tenant has, and stay when its jobs
are deleted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.errors import Invalid
from shared.services.ledger.used import NUMBERS

MOST_DAYS = 366
"""Of one report."""
MOST_ROWS = 10_000
"""Of one report."""

_ENTRIES = 20_000
"""Entries that are summed up by one statement."""
_SUMS_OF = "tenant_id, day, key_id, kind, family, model, model_version_id"
_COLUMNS = f"{_SUMS_OF}, {', '.join(NUMBERS)}"
_SUMS = ", ".join(f"sum({name}) AS {name}" for name in NUMBERS)

ALL_USAGE = f"(SELECT {_COLUMNS} FROM usage UNION ALL SELECT {_COLUMNS} FROM usage_entries)"
"""The sums and what is not yet in them, seen at one moment."""

# In one order, so that sweepers that sum up at once wait for each other and never in a circle.
_SUM_UP = text(f"""
    WITH taken AS (
        DELETE FROM usage_entries WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM usage_entries LIMIT :most FOR UPDATE SKIP LOCKED))
        RETURNING *
    ), summed AS (
        INSERT INTO usage ({_COLUMNS})
        SELECT {_SUMS_OF}, {_SUMS} FROM taken
        -- Nobody is to be told of a tenant that is gone.
        WHERE EXISTS (SELECT FROM tenants WHERE tenants.id = taken.tenant_id)
        GROUP BY {_SUMS_OF} ORDER BY {_SUMS_OF}
        ON CONFLICT ON CONSTRAINT usage_sums DO UPDATE SET
            {", ".join(f"{name} = usage.{name} + excluded.{name}" for name in NUMBERS)}
    )
    SELECT count(*) FROM taken
""")


def sum_up(session: Session) -> bool:
    """Add entries to the sums of their days. Returns whether there may be more."""
    return session.execute(_SUM_UP, {"most": _ENTRIES}).scalar_one() == _ENTRIES


class Group(StrEnum):
    """What the rows of a report are told apart by."""

    DAY = "day"
    """The day in UTC on which the work was committed."""
    MODEL = "model"
    """The model that ran, or that a training made, whatever its version."""
    KEY = "key"
    """The API key that asked for the job."""


_COLUMN = {Group.DAY: "day", Group.MODEL: "model", Group.KEY: "key_id"}


@dataclass(frozen=True)
class Period:
    """Days, both ends included."""

    first: date
    last: date

    def check(self) -> None:
        """Raises Invalid."""
        if self.last < self.first:
            raise Invalid(f"to: {self.last} is before {self.first}, where `from` is", param="to")
        if self.last - self.first >= timedelta(days=MOST_DAYS):
            raise Invalid(f"from: more than {MOST_DAYS} days before `to`", param="from")


def report(
    session: Session, tenant_id: str, period: Period, groups: Sequence[Group]
) -> Sequence[Any]:
    """What a tenant used: a row for each day, model and key in use, as far as they are asked for.

    Raises Invalid.
    """
    period.check()
    by = [_COLUMN[group] for group in Group if group in groups]
    chosen = [column if column in by else f"NULL AS {column}" for column in _COLUMN.values()]
    query = f"""
        SELECT {", ".join(chosen)}, {_SUMS} FROM {ALL_USAGE} told
        WHERE tenant_id = :tenant AND day BETWEEN :first AND :last
        GROUP BY {", ".join(by)} ORDER BY {", ".join(by)} LIMIT :most
    """
    names = {"tenant": tenant_id, **vars(period), "most": MOST_ROWS + 1}
    rows = session.execute(text(query), names).all()
    if len(rows) > MOST_ROWS:
        raise Invalid(
            f"group_by: this gives more than {MOST_ROWS} rows; ask for fewer days or groups",
            param="group_by",
        )
    return rows
