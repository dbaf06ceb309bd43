"""Runs migrations on the database of the settings, one transaction each, under a short lock
timeout.
"""

from alembic import context

from shared.db import engine
from shared.tables.metadata import metadata


def run() -> None:
    with engine().connect() as connection:
        context.configure(
            connection=connection, target_metadata=metadata, transaction_per_migration=True
        )
        with context.begin_transaction():
            context.run_migrations()


run()
