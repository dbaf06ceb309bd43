"""Tenants, and the API keys by which their programs are known."""

from datetime import datetime

from sqlalchemy import (
    ARRAY,
    BigInteger,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from shared.tables.base import Base


class Tenant(Base):
    """A customer of this installation; owns everything else."""

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(String, primary_key=True)
    name: Mapped[str] = mapped_column(String, unique=True)
    weight: Mapped[float] = mapped_column(Float, server_default="1")
    """Its share of each lane, against the others'."""
    max_running: Mapped[int | None] = mapped_column(Integer)
    """Most of its items that may run at once in a lane; absent: as many as there are workers."""
    max_queued: Mapped[int | None] = mapped_column(BigInteger)
    """Most of its items that may wait; absent: as the settings say."""
    max_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """Most bytes of its files and outputs; absent: no limit."""
    max_compute_seconds: Mapped[int | None] = mapped_column(BigInteger)
    """Its budget of each calendar month, in UTC; absent: no limit."""
    max_requests: Mapped[int | None] = mapped_column(Integer)
    """Most requests of all its keys in a minute; absent: as the settings say."""
    retention_days: Mapped[float | None] = mapped_column(Float)
    """Days for which its ended jobs are kept with their outputs; absent: as the settings say."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Key(Base):
    """An API key: shown once, kept as a hash. It is random enough that the hash needs no salt."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String)
    hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    hint: Mapped[str] = mapped_column(String)
    """Its first characters, so that people can tell keys apart."""
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String))
    max_compute_seconds: Mapped[int | None] = mapped_column(BigInteger)
    """Budget of each calendar month for what it asks for; absent: the tenant's alone."""
    origin_id: Mapped[str | None] = mapped_column(String)
    """The first of the keys that took each other's place, which share a budget; absent: itself."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
