"""Statements that psycopg runs as they are: for what every batch and every request goes through.

On its own way SQLAlchemy looks at a result's columns anew each time, which takes a process about as
long as all the rest of a short statement. What is read or written now and then goes that way.
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
    """A statement, or SQL with `:names` as `sqlalchemy.text` takes it, and what makes a row of its
    columns, given in their order.
    """

    def __init__(self, sql: str | Select[Any], row: Callable[..., Row]) -> None:
        self.text = str(sql)
        self.row = row
        self.query = str((text(sql) if isinstance(sql, str) else sql).compile(dialect=_DIALECT))

    def rows(self, at: Session | Connection, names: Mapping[str, Any]) -> list[Row]:
        """Run it in the transaction that is open there, and fetch what it returns.

        Raises DBAPIError, of the kind that SQLAlchemy would.
        """
        connection = at.connection() if isinstance(at, Session) else at
        driver: Any = connection.connection.driver_connection
        cursor = driver.cursor(row_factory=args_row(self.row))
        try:
            found: list[Row] = cursor.execute(self.query, names).fetchall()
        except psycopg.Error as error:
            if driver.closed:
                connection.invalidate(error)
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
