"""Failures: attempts of items that went wrong, kept so that people can see why and repeat them."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Identity, Index, SmallInteger, String, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.tables.base import Base


class Failure(Base):
    """One attempt of an item that went wrong: an error that the family raised, or a crash."""

    __tablename__ = "failures"
    __table_args__ = (
        Index("failures_by_job", "job_id", "item_id"),
        # What may be repeated, by its reason; the rest is history.
        Index("failures_ended", "tenant_id", "reason", "id", postgresql_where=text("ended")),
        Index("failures_by_tenant", "tenant_id", "id"),
        Index("failures_by_time", "tenant_id", "created_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    # No foreign keys, as with items: a hundred thousand may come with one job.
    tenant_id: Mapped[str] = mapped_column(String)
    job_id: Mapped[str] = mapped_column(String)
    item_id: Mapped[int] = mapped_column(BigInteger)
    attempt: Mapped[int] = mapped_column(SmallInteger)
    kind: Mapped[str] = mapped_column(String)
    """A member of shared.states.FailureKind."""
    ended: Mapped[bool] = mapped_column(server_default="false")
    """It was the last attempt: the item has failed, and was not repeated since."""
    reason: Mapped[str] = mapped_column(String)
    """What equal failures have in common; see services/failures.py."""
    error: Mapped[dict[str, Any]] = mapped_column(JSONB)
    worker: Mapped[str] = mapped_column(String)
    log: Mapped[str] = mapped_column(String, server_default="")
    """The last lines that the worker logged about the item's lease."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
