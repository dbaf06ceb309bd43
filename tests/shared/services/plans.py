"""How statements find their rows: their plans, and what their scans read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from shared.db import transaction
from tests.statements import Sent, watched

LARGE = {
    "items",
    "queue",
    "outputs",
    "jobs",
    "events",
    "failures",
    "deliveries",
    "usage",
    "usage_entries",
}
"""Tables of which no hot statement may read every row."""


class Read(NamedTuple):
    """How many rows of a table a scan read, be they taken or left."""

    statement: str
    table: str
    rows: float


def read_in_full(statement: Sent) -> set[str]:
    """The large tables of which a statement must read every row, for want of an index."""
    with transaction() as session:
        # Of small tables, as in a test, it would choose to.
        session.execute(text("SET LOCAL enable_seqscan = off"))
        cursor = session.connection().exec_driver_sql(
            f"EXPLAIN (FORMAT JSON) {statement[0]}", statement[1]
        )
        [plan] = cursor.scalar_one()
        session.rollback()
    return {node["Relation Name"] for node in nodes(plan["Plan"]) if _is_full(node)} & LARGE


def _is_full(node: dict[str, Any]) -> bool:
    return node["Node Type"] == "Seq Scan"


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


@contextmanager
def measured() -> Iterator[list[Read]]:
    """What the statements of the block read, each run once for it, undone, and then run in earnest.

    A scan that finds its rows by an index, and reads a whole index for them, is seen by this alone.
    """
    found: list[Read] = []

    def measure(at: Connection, statement: str, parameters: Any, many: bool) -> None:
        if many or not can_be_explained(statement):
            return
        connection: Any = at.connection.driver_connection
        begin, undo = ("BEGIN", "ROLLBACK") if connection.autocommit else _IN_A_TRANSACTION
        connection.execute(begin)
        connection.execute("SET LOCAL enable_seqscan = off")
        explain = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}"
        [plan] = connection.execute(explain, parameters).fetchone()[0]
        connection.execute(undo)
        found.extend(Read(statement, *read) for read in _scans(plan["Plan"]))

    with watched(measure):
        yield found


_IN_A_TRANSACTION = ("SAVEPOINT measuring", "ROLLBACK TO SAVEPOINT measuring")


def _scans(plan: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for node in nodes(plan):
        if node.get("Relation Name") in LARGE and "Scan" in node["Node Type"]:
            left = node.get("Rows Removed by Filter", 0)
            left += node.get("Rows Removed by Index Recheck", 0)
            yield node["Relation Name"], (node["Actual Rows"] + left) * node["Actual Loops"]


def can_be_explained(statement: str) -> bool:
    first = statement.split(maxsplit=1)[0].upper()
    return first in {"SELECT", "WITH", "UPDATE", "DELETE", "INSERT"} and "incoming" not in statement


def looked_up(statement: Sent) -> dict[str, str]:
    """The indexes by which a statement finds its rows, in a transaction of a list by metadata, each
    with what is looked up in it.
    """
    with transaction() as session:
        session.execute(text("SET LOCAL enable_bitmapscan = on"))
        cursor = session.connection().exec_driver_sql(
            f"EXPLAIN (FORMAT JSON) {statement[0]}", statement[1]
        )
        [plan] = cursor.scalar_one()
    found = [node for node in nodes(plan["Plan"]) if "Index Name" in node]
    return {node["Index Name"]: node.get("Index Cond", "") for node in found}
