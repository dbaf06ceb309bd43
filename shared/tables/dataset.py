"""Data sets: named, versioned, immutable once ready."""

from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, DateTime, ForeignKey, Integer, String, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.tables.base import Base


class Dataset(Base):
    """One version of a data set."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("tenant_id", "name", "version"),)

    id: Mapped[str] = mapped_column(String, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String)
    version: Mapped[int] = mapped_column(Integer)
    modality: Mapped[str] = mapped_column(String)
    state: Mapped[str] = mapped_column(String)
    """A member of shared.states.DatasetState."""
    files: Mapped[list[str]] = mapped_column(ARRAY(String))
    """Ids of the files it was made from."""
    outputs: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """Which judged outputs it was made from instead; see shared.preparation.JudgedOutputs."""
    options: Mapped[dict[str, Any]] = mapped_column(JSONB)
    hash: Mapped[str | None] = mapped_column(String(64))
    """Of its prepared content; two versions with one hash hold the same examples."""
    prefix: Mapped[str | None] = mapped_column(String)
    """Where its prepared files lie in storage."""
    prepared: Mapped[dict[str, str] | None] = mapped_column(JSONB)
    """SHA-256 of each of its prepared files, by name."""
    report: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    job_id: Mapped[str | None] = mapped_column(String)
    """The ingestion job that makes it."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
