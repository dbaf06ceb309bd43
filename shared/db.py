"""Connections to Postgres, the truth about every job: an engine per process, short transactions."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from shared import wall
from shared.settings import settings
from shared.tables.metadata import TABLES

# Whoever writes one table needs the tables that its foreign keys name.
assert TABLES


_IDLE_S = 2.0
"""After so long unused, a connection may have been closed by the other end."""

LOCK_TIMEOUT = "5s"
"""How long a statement waits for a lock."""

# A statement that waits for a lock gives up before a client does; a forgotten transaction, which
# would keep dead rows of the queue alive, is ended by the server. A bitmap scan loses its index's
# order: after a bulk accept, before the statistics know of it, a claim would sort the whole queue.
_OPTIONS = (
    f"-c lock_timeout={LOCK_TIMEOUT} -c idle_in_transaction_session_timeout=60s -c timezone=UTC"
    " -c jit=off -c enable_bitmapscan=off"
)

# Most requests ask a statement or two, for a moment. Were these connections the others too, each
# would be told twice a request what it is for, which is a sixth of what looking at a job costs.
_FOR_SINGLE_STATEMENTS: dict[str, Any] = {
    "size": 4,
    "isolation_level": "AUTOCOMMIT",
    "skip_autocommit_rollback": True,
}

_pools: dict[tuple[str, bool], Engine] = {}
"""By the setting that names their server and role, and whether they are for transactions."""
_making = threading.Lock()


def engine() -> Engine:
    """This process's pool of connections for transactions, as the role that this thread asks as."""
    return _pool(for_transactions=True)


def _pool(for_transactions: bool) -> Engine:
    # Made at first use, so that a forked worker never shares its parent's sockets.
    setting = "api_database_url" if wall.stands() else "database_url"
    # Threads that begin at once must not make two, of which one would be forgotten while in use.
    with _making:
        if (setting, for_transactions) not in _pools:
            url = settings().required(setting)
            made = _make(url) if for_transactions else _make(url, **_FOR_SINGLE_STATEMENTS)
            _pools[setting, for_transactions] = made
        return _pools[setting, for_transactions]


def forget_engine() -> None:
    """Close the pools' connections, and make other pools when they are needed."""
    with _making:
        for made in _pools.values():
            made.dispose()
        _pools.clear()


def _make(url: str, size: int = 8, **options: Any) -> Engine:
    made = create_engine(
        url,
        pool_size=size,
        pool_use_lifo=True,
        max_overflow=size,
        pool_timeout=5,
        # An error's text goes to the log; what clients sent, and secrets, must not.
        hide_parameters=True,
        connect_args={"options": _OPTIONS, "connect_timeout": 5, "application_name": "atelier"},
        **options,
    )
    event.listen(made, "checkin", _note_return)
    event.listen(made, "checkout", _check_idle)
    event.listen(made, "checkout", _name_tenant)
    return made


def _note_return(_: Any, record: ConnectionPoolEntry) -> None:
    record.info["returned_at"] = time.monotonic()


def _check_idle(connection: Any, record: ConnectionPoolEntry, _: Any) -> None:
    """Ask a connection that nobody used for a while whether it still stands; the pool replaces it
    if not. Asking each time, as `pool_pre_ping` does, is a round trip more for each transaction.
    """
    returned_at = record.info.get("returned_at")
    if returned_at is None or time.monotonic() - returned_at < _IDLE_S:
        return
    try:
        engine().dialect.do_ping(connection)
    except engine().dialect.dbapi.Error as error:  # type: ignore[union-attr]
        raise DisconnectionError from error


def _name_tenant(connection: Any, record: ConnectionPoolEntry, _: Any) -> None:
    """Tell the server for whom this connection asks, where it does not know it from before."""
    claim = wall.claim() if wall.stands() else None
    if claim is None or claim == record.info.get("claim", wall.NOBODY):
        return
    try:
        was, connection.autocommit = connection.autocommit, True  # no rollback takes it back
        connection.execute("SELECT set_config('atelier.tenant', %s, false)", (claim,))
        connection.autocommit = was
    except engine().dialect.dbapi.Error as error:  # type: ignore[union-attr]
        raise DisconnectionError from error
    record.info["claim"] = claim


@contextmanager
def transaction() -> Iterator[Session]:
    """A session whose work is committed at the end of the block, or rolled back if it raises."""
    with Session(engine(), expire_on_commit=False) as session, session.begin():
        yield session


def now(session: Session) -> datetime:
    """The database's clock: what ends when is judged by it alone, whatever a machine's own says."""
    return session.execute(text("SELECT clock_timestamp()")).scalar_one()


@contextmanager
def rehearsal() -> Iterator[Session]:
    """A session whose work is undone at the end of the block: it shows what would happen."""
    with Session(engine(), expire_on_commit=False) as session:
        yield session


@contextmanager
def reading() -> Iterator[Session]:
    """A session that only reads: each statement stands for itself, which saves the round trips of
    BEGIN and COMMIT. What it sees may change between two statements, as in `transaction`.
    """
    with Session(_pool(for_transactions=False), expire_on_commit=False) as session:
        yield session


@contextmanager
def asking() -> Iterator[Connection]:
    """As `reading`, for a statement or two that every request makes: without a session."""
    with _pool(for_transactions=False).connect() as connection:
        yield connection
