"""Models: a name, its versions, and the checkpoints on the way to one."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    String,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.tables.base import Base


class Model(Base):
    """A name that clients use; it points to the version that answers."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    id: Mapped[str] = mapped_column(String, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String)
    family: Mapped[str] = mapped_column(String)
    modality: Mapped[str] = mapped_column(String)
    promoted_version: Mapped[int | None] = mapped_column(Integer)
    """The version that answers to the name alone; absent: every one was deleted."""
    deleted_version: Mapped[int] = mapped_column(Integer, server_default="0")
    """The highest version that was deleted: no other gets its number, not even after the last."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class ModelVersion(Base):
    """One set of weights of a model, with its card."""

    __tablename__ = "model_versions"
    __table_args__ = (UniqueConstraint("model_id", "version"),)

    id: Mapped[str] = mapped_column(String, primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"))
    version: Mapped[int] = mapped_column(Integer)
    prefix: Mapped[str] = mapped_column(String)
    """Where its files lie in storage."""
    files: Mapped[dict[str, str]] = mapped_column(JSONB)
    """SHA-256 of each of its files, by name."""
    weights_hash: Mapped[str] = mapped_column(String(64))
    """SHA-256 over `files`."""
    config: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """Its `config.json`: what parameters are checked against."""
    card: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """Data set, parameters, code version, metrics, compute seconds."""
    job_id: Mapped[str | None] = mapped_column(String, index=True)
    """The training job that made it; absent when imported."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Checkpoint(Base):
    """A training state in storage, from which a killed training goes on."""

    __tablename__ = "checkpoints"

    id: Mapped[str] = mapped_column(String, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    step: Mapped[int] = mapped_column(BigInteger)
    prefix: Mapped[str] = mapped_column(String)
    objective: Mapped[float | None] = mapped_column(Float)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
