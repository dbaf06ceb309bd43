"""The moving parts of the ledger: flows, paused lanes, the queue, leases, workers, idempotency
keys.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    String,
    UniqueConstraint,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.tables.base import Base


class Flow(Base):
    """One tenant's queue in one lane. The lane serves the flow with the lowest virtual time."""

    __tablename__ = "flows"
    __table_args__ = (
        UniqueConstraint("lane", "tenant_id"),
        Index("flows_by_tenant", "tenant_id"),
        {"postgresql_with": {"fillfactor": "50"}},
    )

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    lane: Mapped[str] = mapped_column(String)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    vtime: Mapped[float] = mapped_column(Float, server_default="0")
    """Cost served so far, divided by the tenant's weight."""
    queued: Mapped[int] = mapped_column(BigInteger, server_default="0")
    running: Mapped[int] = mapped_column(BigInteger, server_default="0")
    cost: Mapped[float] = mapped_column(Float, server_default="0")
    """Of what is queued."""
    bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Of the outputs that came of it."""


class PausedLane(Base):
    """A lane from which nothing is claimed until it is resumed."""

    __tablename__ = "paused_lanes"

    lane: Mapped[str] = mapped_column(String, primary_key=True)
    paused_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class QueueRow(Base):
    """An item that waits. Narrow and short-lived: a claim deletes it."""

    __tablename__ = "queue"
    __table_args__ = (
        Index("queue_by_flow", "flow_id", "rank", "item_id"),
        Index("queue_by_batch", "batch_key", "flow_id", "rank", "item_id"),
        {
            # Rows come and go by the million: vacuum by count, often, and without pauses.
            "postgresql_with": {
                "autovacuum_vacuum_scale_factor": "0",
                "autovacuum_vacuum_threshold": "20000",
                "autovacuum_vacuum_cost_delay": "0",
            }
        },
    )

    item_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    flow_id: Mapped[int] = mapped_column(Integer)
    rank: Mapped[int] = mapped_column(Integer)
    """Lower goes first; see services/ledger/waiting.py."""
    batch_key: Mapped[str] = mapped_column(String)
    """Items of one key may share a forward pass."""
    cost: Mapped[float] = mapped_column(REAL)
    available_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )
    """Back-off: not to be claimed before."""


class Lease(Base):
    """The right of one worker to run the items it claimed, until it expires.

    All clocks are this server's.
    """

    __tablename__ = "leases"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    token: Mapped[Any] = mapped_column(Uuid, primary_key=True)
    worker: Mapped[str] = mapped_column(String)
    lane: Mapped[str] = mapped_column(String)
    items: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    stage: Mapped[str] = mapped_column(String)
    """A member of shared.states.Stage."""
    stop: Mapped[str | None] = mapped_column(String)
    """Written by the release before; the next one may drop it."""
    log: Mapped[str] = mapped_column(String, server_default="")
    """The last lines that its worker logged about it."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Worker(Base):
    """A worker process as the dashboard shows it."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String, primary_key=True)
    lanes: Mapped[list[str]] = mapped_column(ARRAY(String))
    device: Mapped[str] = mapped_column(String)
    models: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    """Versions it holds in memory."""
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Idempotency(Base):
    """The answer to a create that named an Idempotency-Key, written in the create's own
    transaction.
    """

    __tablename__ = "idempotency"

    tenant_id: Mapped[str] = mapped_column(
        ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(String, primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None] = mapped_column(SmallInteger)
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), index=True
    )
