"""Runs migrations on the database of the settings, one transaction each, under a short lock
timeout.
"""

from alembic import context
from sqlalchemy import Connection, text

from shared.db import engine
from shared.tables.metadata import metadata

# Behind a change that waits for a table queue all who want to use it.
_LOCK_TIMEOUT = text("SET lock_timeout = '1s'")


def run() -> None:
    with engine().connect() as connection:
        try:
            _run_on(connection)
        finally:
            connection.invalidate()  # so that nobody else gets it, with this timeout


def _run_on(connection: Connection) -> None:
    connection.execute(_LOCK_TIMEOUT)
    connection.commit()
    context.configure(
        connection=connection, target_metadata=metadata, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()


run()
