"""Outputs and the verdicts of people on them."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.tables.base import Base


class Output(Base):
    """One generated file or text, with how it came about."""

    __tablename__ = "outputs"
    __table_args__ = (
        # The ledger's last word against doubles.
        UniqueConstraint("item_id", "index"),
        Index("outputs_by_tenant", "tenant_id", "id"),
        Index("outputs_by_job", "job_id", "id"),
        # Most are released, and in the index of the tenant soon found.
        Index(
            "outputs_unreleased",
            "tenant_id",
            "state",
            "id",
            postgresql_where=text("state <> 'released'"),
        ),
        Index(
            "outputs_by_label",
            "tenant_id",
            "label",
            "id",
            postgresql_where=text("label IS NOT NULL"),
        ),
        Index("outputs_by_hash", "tenant_id", "sha256", "id"),
        Index("outputs_by_media_type", "tenant_id", "media_type", "id"),
        Index("outputs_to_review", "tenant_id", "id", postgresql_where=text("state = 'released'")),
    )

    id: Mapped[str] = mapped_column(String, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String)
    job_id: Mapped[str] = mapped_column(String)
    """Unchecked, like the item: whoever adds an output holds the job's row, and jobs go last."""
    item_id: Mapped[int] = mapped_column(BigInteger)
    index: Mapped[int] = mapped_column(Integer)
    """Which of its item's outputs, from 0."""
    state: Mapped[str] = mapped_column(String, server_default="released")
    """A member of shared.states.OutputState."""
    media_type: Mapped[str] = mapped_column(String)
    key: Mapped[str] = mapped_column(String)
    """Where it lies in storage; ends in the hash."""
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    seed: Mapped[int] = mapped_column(BigInteger)
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """What the family says of it: label, token counts, finish reason."""
    label: Mapped[str | None] = mapped_column(String)
    """The label among its facts, if it is one and no mix; a trigger copies it."""
    scores: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    provenance: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """Model version, weights hash, code and library versions, device, seconds."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Verdict(Base):
    """One reviewer's decision on one output: a person's, or an API key's.

    Appended, never changed: taking one back is a new row.
    """

    __tablename__ = "verdicts"
    __table_args__ = (
        Index("verdicts_by_output", "output_id", "id"),
        Index("verdicts_by_tenant", "tenant_id", "id"),
    )

    id: Mapped[str] = mapped_column(String, primary_key=True)
    output_id: Mapped[str] = mapped_column(ForeignKey("outputs.id", ondelete="CASCADE"))
    tenant_id: Mapped[str | None] = mapped_column(String)
    """The output's; a trigger copies it."""
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    """The person who gave it in the dashboard; absent: a key did."""
    key_id: Mapped[str | None] = mapped_column(String)
    """The API key that gave it; absent: a person did."""
    decision: Mapped[str] = mapped_column(String)
    """A member of shared.states.Decision."""
    rating: Mapped[int | None] = mapped_column(SmallInteger)
    """1 to 5."""
    tags: Mapped[list[str]] = mapped_column(ARRAY(String), server_default="{}")
    note: Mapped[str] = mapped_column(String, server_default="")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
