"""Keyset pages: every list costs the same on its thousandth page as on its first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

Row = TypeVar("Row")


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
