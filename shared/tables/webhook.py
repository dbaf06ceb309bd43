"""Webhooks: where a tenant is called back, what happened, and each delivery of it."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.tables.base import Base


class Webhook(Base):
    """An address of a tenant's own that is called when something has happened."""

    __tablename__ = "webhooks"
    __table_args__ = (Index("webhooks_by_tenant", "tenant_id", "id"),)

    id: Mapped[str] = mapped_column(String, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    url: Mapped[str] = mapped_column(String)
    events: Mapped[list[str]] = mapped_column(ARRAY(String))
    """Types of events, or `*`; beside those of jobs that name it."""
    secret: Mapped[str] = mapped_column(String)
    """Signs what is sent; kept as it is, because a signature needs it."""
    old_secret: Mapped[str | None] = mapped_column(String)
    """Signs too, while receivers change over to the new one."""
    old_secret_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    disabled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    disabled_reason: Mapped[str | None] = mapped_column(String)
    enabled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    """When somebody last enabled it again."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class WebhookEvent(Base):
    """Something of which receivers are told; all its deliveries carry its id."""

    __tablename__ = "webhook_events"
    __table_args__ = (Index("webhook_events_by_time", "created_at"),)

    id: Mapped[str] = mapped_column(String, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    type: Mapped[str] = mapped_column(String)
    job_id: Mapped[str] = mapped_column(String)
    body: Mapped[str] = mapped_column(String)
    """As it is sent and signed, to the byte."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Delivery(Base):
    """One event on its way to one webhook."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("event_id", "webhook_id"),
        Index("deliveries_by_webhook", "webhook_id", "id"),
        Index(
            "deliveries_due",
            "webhook_id",
            "next_at",
            postgresql_where=text("state = 'pending'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    event_id: Mapped[str] = mapped_column(ForeignKey("webhook_events.id", ondelete="CASCADE"))
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(String, server_default="pending")
    """A member of shared.states.DeliveryState."""
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    next_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    """Not to be sent before."""
    log: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    """Each attempt's time, status and answer, or why there was none."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    delivered_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
