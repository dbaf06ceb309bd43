"""Connections to Postgres, the truth about every job: an engine per process, short transactions."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from shared.settings import settings
from shared.tables.metadata import TABLES

# Whoever writes one table needs the tables that its foreign keys name.
assert TABLES


# A statement that waits for a lock gives up before a client does; a forgotten transaction, which
# would keep dead rows of the queue alive, is ended by the server.
_OPTIONS = (
    "-c lock_timeout=5s -c idle_in_transaction_session_timeout=60s -c timezone=UTC -c jit=off"
)


@cache
def engine() -> Engine:
    """This process's pool.

    Made at first use, so that a forked worker never shares its parent's sockets.
    """
    return create_engine(
        settings().required("database_url"),
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=8,
        pool_timeout=5,
        connect_args={"options": _OPTIONS, "connect_timeout": 5, "application_name": "atelier"},
    )


@contextmanager
def transaction() -> Iterator[Session]:
    """A session whose work is committed at the end of the block, or rolled back if it raises."""
    with Session(engine(), expire_on_commit=False) as session, session.begin():
        yield session
