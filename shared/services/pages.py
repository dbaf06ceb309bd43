"""Keyset pages: every list costs the same on its thousandth page as on its first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Literal, TypeVar

from sqlalchemy import Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.errors import NotFound
from shared.ids import first_id

Row = TypeVar("Row")

_CLOCKS_DIFFER = timedelta(hours=1)
"""An id has the time of the process that made it, `created_at` the database's, at the commit."""
_HIGHEST = 2**63 - 1
_LAST = datetime.max.replace(tzinfo=UTC) - _CLOCKS_DIFFER


@dataclass(frozen=True)
class Cursor:
    """Which page of a list is wanted. `after` and `before` are ids of the list."""

    after: Any | None = None
    before: Any | None = None
    limit: int = 20
    order: Literal["asc", "desc"] = "desc"


@dataclass(frozen=True)
class Page(Generic[Row]):
    """One page, and whether there are more rows in the direction of reading."""

    rows: Sequence[Row]
    has_more: bool


@dataclass(frozen=True)
class Period:
    """When the rows of a list were made: then or later, and before."""

    after: datetime | None = None
    before: datetime | None = None


ALWAYS = Period()


def having(chosen: Select[Row], wanted: Mapping[InstrumentedAttribute[Any], Any]) -> Select[Row]:
    """The rows of `chosen` whose columns have the values wanted of them; None wants nothing."""
    return chosen.where(*(column == value for column, value in wanted.items() if value is not None))


def made_within(chosen: Select[Row], table: Any, noun: str, period: Period) -> Select[Row]:
    """The rows of `chosen` that were made in time. Ids, which rise with it, bound what is read."""
    if period.after is not None:
        lowest = first_id(noun, period.after - _CLOCKS_DIFFER)
        chosen = chosen.where(table.created_at >= period.after, table.id >= lowest)
    if period.before is not None:
        highest = first_id(noun, min(period.before, _LAST) + _CLOCKS_DIFFER)
        chosen = chosen.where(table.created_at < period.before, table.id < highest)
    return chosen


def numbered_within(chosen: Select[Row], table: Any, tenant_id: str, period: Period) -> Select[Row]:
    """As `made_within`, of a tenant's rows whose ids are numbers: of two transactions that were
    open at once either may have the lower ones, but not of two that were an hour apart.
    """
    ids = select(table.id).where(table.tenant_id == tenant_id).limit(1)
    made_at = table.created_at
    if period.after is not None:
        earlier = ids.where(made_at < period.after - _CLOCKS_DIFFER).order_by(made_at.desc())
        chosen = chosen.where(
            made_at >= period.after, table.id > func.coalesce(earlier.scalar_subquery(), 0)
        )
    if period.before is not None:
        end = min(period.before, _LAST)
        later = ids.where(made_at >= end + _CLOCKS_DIFFER).order_by(made_at)
        chosen = chosen.where(
            made_at < period.before, table.id < func.coalesce(later.scalar_subquery(), _HIGHEST)
        )
    return chosen


def page(
    session: Session, chosen: Select[Row], key: InstrumentedAttribute[Any], cursor: Cursor
) -> Page[Row]:
    """The page of `chosen` that a cursor asks for, in its order of `key`."""
    rising = cursor.order == "asc"
    if cursor.after is not None:
        chosen = chosen.where(key > cursor.after if rising else key < cursor.after)
    if cursor.before is not None:
        chosen = chosen.where(key < cursor.before if rising else key > cursor.before)
    # Before a row, the nearest rows are wanted: read backwards, then turned round.
    backwards = cursor.before is not None and cursor.after is None
    ascending = rising != backwards
    ordered = chosen.order_by(key.asc() if ascending else key.desc()).limit(cursor.limit + 1)
    rows = list(session.scalars(ordered))
    has_more = len(rows) > cursor.limit
    rows = rows[: cursor.limit]
    return Page(rows[::-1] if backwards else rows, has_more)


def page_of(rows: Sequence[Row], id_of: Callable[[Row], str], cursor: Cursor) -> Page[Row]:
    """The page of a short list, which is here as a whole, in rising order. Raises NotFound for an
    id that is not in it.
    """
    ordered = rows if cursor.order == "asc" else rows[::-1]
    places = {id_of(row): place for place, row in enumerate(ordered)}
    begin = 0 if cursor.after is None else _place(places, cursor.after, "after") + 1
    end = len(rows) if cursor.before is None else _place(places, cursor.before, "before")
    found = ordered[begin:end]
    backwards = cursor.before is not None and cursor.after is None
    nearest = found[-cursor.limit :] if backwards else found[: cursor.limit]
    return Page(nearest, has_more=len(found) > cursor.limit)


def _place(places: Mapping[str, int], id_: str, param: str) -> int:
    if id_ not in places:
        raise NotFound(f"{param}: this list has no {id_!r}", param=param)
    return places[id_]
