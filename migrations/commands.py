"""What `atelier migrate` does, and what tests and the compose file call."""

from pathlib import Path

from alembic import command
from alembic.config import Config


def config() -> Config:
    return Config(Path(__file__).parent / "alembic.ini")


def upgrade(revision: str = "head") -> None:
    """Bring the database of the settings up to a revision."""
    command.upgrade(config(), revision)


def downgrade(revision: str) -> None:
    """Take the database of the settings back to a revision."""
    command.downgrade(config(), revision)
