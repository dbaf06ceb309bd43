"""Runs migrations on the database of the settings, one transaction each, under a short lock
timeout.
"""

from alembic import context
from sqlalchemy import text

from shared.db import engine
from shared.tables.metadata import metadata

# Two installers at once: the second waits here, then finds nothing left to do.
_LOCK = 7_021_114


def run() -> None:
    with engine().connect() as connection:
        context.configure(
            connection=connection, target_metadata=metadata, transaction_per_migration=True
        )
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            context.run_migrations()


run()
