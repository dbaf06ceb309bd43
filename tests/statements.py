"""The statements that reach the database: how many they are, and what they are."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from shared.statement import Statement

Sent = tuple[str, Any]


@contextmanager
def watched(look: Callable[[Connection, str, Any, bool], None]) -> Iterator[None]:
    """Have `look` see each statement of the block before it is sent: where, the statement, its
    parameters, and whether it runs once for each of many.
    """

    def look_at_cursor(
        at: Connection, _: Any, statement: str, parameters: Any, __: Any, many: bool
    ) -> None:
        look(at, statement, parameters, many)

    fetch = Statement.rows

    def rows(
        statement: Statement[Any], at: Session | Connection, names: Mapping[str, Any]
    ) -> list[Any]:
        connection = at.connection() if isinstance(at, Session) else at
        look(connection, statement.query, names, False)
        return fetch(statement, at, names)

    event.listen(Engine, "before_cursor_execute", look_at_cursor)
    try:
        with patch.object(Statement, "rows", rows):
            yield
    finally:
        event.remove(Engine, "before_cursor_execute", look_at_cursor)


@contextmanager
def caught() -> Iterator[list[Sent]]:
    """The statements that the block sends, as whichever role, with their parameters."""
    found: list[Sent] = []
    with watched(lambda _, statement, parameters, __: found.append((statement, parameters))):
        yield found
