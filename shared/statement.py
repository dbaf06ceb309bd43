"""Statements that every batch or every request asks, handed to psycopg as they are.

SQLAlchemy describes the columns of a result anew each time, which takes a process about as long as
all the rest of a short statement. Whatever is asked less often goes through `session.execute`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import psycopg
from psycopg.rows import args_row
from sqlalchemy import Connection, Select, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

Row = TypeVar("Row")

_DIALECT = PGDialect_psycopg()


def records(parameter: str, columns: str) -> str:
    """SQL for the rows that a parameter holds as a JSON list of objects.

    By its limit the planner takes them for few; for a hundred, which it would think else, it might
    read the whole table that they are joined to.
    """
    return f"""
        SELECT * FROM jsonb_to_recordset(cast(:{parameter} AS jsonb)) AS record ({columns})
        LIMIT jsonb_array_length(cast(:{parameter} AS jsonb))
    """


class Statement(Generic[Row]):
    """A statement with names for its parameters, as SQL or made by `select`, and what makes a row
    of its columns, given in their order. Values are what psycopg makes of them.
    """

    def __init__(self, sql: str | Select[Any], row: Callable[..., Row]) -> None:
        self.text = str(sql)
        self.row = row
        self.query = str((text(sql) if isinstance(sql, str) else sql).compile(dialect=_DIALECT))

    def rows(self, at: Session | Connection, names: Mapping[str, Any]) -> list[Row]:
        """Run it in a session's transaction, or on a connection of `asking`; returns all its rows.

        Raises DBAPIError, of the kind that SQLAlchemy would.
        """
        connection = at.connection() if isinstance(at, Session) else at
        driver: Any = connection.connection.driver_connection
        try:
            cursor = driver.cursor(row_factory=args_row(self.row))
            found: list[Row] = cursor.execute(self.query, names).fetchall()
        except psycopg.Error as error:
            if driver.closed:
                connection.invalidate(error)
                # Whatever cut it off may have cut off the others of its pool.
                connection.engine.dispose()
            raise DBAPIError.instance(
                self.text,
                names,
                error,
                psycopg.Error,
                hide_parameters=True,
                connection_invalidated=connection.invalidated,
                dialect=_DIALECT,
            ) from error
        return found
