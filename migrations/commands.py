"""What `atelier migrate` does, and what tests and the compose file call."""

import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy.exc import OperationalError

from migrations.lock import alone
from migrations.roles import admit_api
from shared.db import engine
from shared.errors import Permanent, Retryable

PATIENCE_S = 60.0
"""How long an upgrade goes on trying one migration, for which others leave no room."""
_PAUSE_S = 2.0
"""For which all others use it undisturbed in between."""

_BUSY = (
    "The upgrade stopped at revision {reached}, rather than hold others up: they used a table, or "
    "kept a transaction open, for too long ({told}). The release before works with the database as "
    "it is. Run the upgrade again: it goes on where it stopped."
)


def config() -> Config:
    return Config(Path(__file__).parent / "alembic.ini")


def head() -> str:
    """The revision that this code's tables are at."""
    return str(ScriptDirectory.from_config(config()).get_current_head())


def current() -> str | None:
    """The revision that the database of the settings is at; None before the first."""
    with engine().connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(revision: str = "head") -> None:
    """Bring the database of the settings up to a revision, and let the API's role use it.

    Raises Permanent for a database that a newer Atelier has changed, or for an unfit role;
    Retryable where others kept a table or an old transaction for too long.
    """
    with alone():
        try:
            _upgrade_in_turn_with_others(revision)
        except CommandError as error:
            raise Permanent(
                f"The database was changed by a newer Atelier ({error}). Run that version, or "
                "restore a backup from before it."
            ) from error
        admit_api()


def _upgrade_in_turn_with_others(revision: str) -> None:
    """Let others go first, again and again, who keep what a migration needs."""
    tried: str | None = "nothing yet"
    give_up_at = 0.0
    while True:
        try:
            return command.upgrade(config(), revision)
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable | DeadlockDetected):
                raise
            reached = current()
            if reached != tried:
                tried, give_up_at = reached, time.monotonic() + PATIENCE_S
            if time.monotonic() >= give_up_at:
                raise Retryable(_BUSY.format(reached=reached, told=error.orig)) from error
        time.sleep(_PAUSE_S)


def downgrade(revision: str) -> None:
    """Take the database of the settings back to a revision."""
    with alone():
        command.downgrade(config(), revision)
