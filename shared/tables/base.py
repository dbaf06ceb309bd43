"""What every table class derives from."""

from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """The one registry of tables."""
