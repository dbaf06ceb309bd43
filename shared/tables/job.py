"""Jobs, their items and events: what was asked, and how far it is."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
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
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.log import id_of
from shared.tables.base import Base


class Job(Base):
    """One accepted request. Its counters make status as cheap for ten million items as for ten."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("jobs_by_tenant", "tenant_id", "id"),
        Index(
            "jobs_open",
            "tenant_id",
            "state",
            postgresql_where=text(
                "state NOT IN ('succeeded', 'partial', 'failed', 'cancelled', 'expired')"
            ),
        ),
        Index(
            "jobs_by_deadline",
            "deadline",
            postgresql_where=text(
                "deadline IS NOT NULL AND state IN ('validating', 'queued', 'running', 'paused')"
            ),
        ),
        # For filters of the list. Counters change none of these.
        Index("jobs_by_state", "tenant_id", "state", "id"),
        Index("jobs_by_model", "tenant_id", "model", "id"),
        Index("jobs_by_version", "model_version_id"),
        Index(
            "jobs_by_dataset",
            "tenant_id",
            "dataset_id",
            "id",
            postgresql_where=text("dataset_id IS NOT NULL"),
        ),
        Index(
            "jobs_by_metadata",
            "metadata",
            postgresql_using="gin",
            postgresql_where=text("metadata <> '{}'::jsonb"),
        ),
        Index("jobs_by_end", "kind", "finished_at"),
        Index(
            "jobs_to_forget",
            "tenant_id",
            "finished_at",
            postgresql_where=text(
                "finished_at IS NOT NULL AND kind IN ('generation', 'embedding')"
            ),
        ),
        Index(
            "jobs_to_look_through",
            "finished_at",
            postgresql_where=text("reconciled_at IS NULL AND kind IN ('generation', 'embedding')"),
        ),
        Index("jobs_batches", "tenant_id", "id", postgresql_where=text("endpoint IS NOT NULL")),
        # Half-empty pages: a counter's update stays on its page and touches no index.
        {"postgresql_with": {"fillfactor": "50"}},
    )

    id: Mapped[str] = mapped_column(String, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String)
    """A member of shared.states.JobKind."""
    state: Mapped[str] = mapped_column(String)
    """A member of shared.states.JobState."""
    key_id: Mapped[str | None] = mapped_column(String)
    """The API key that asked for it, where one did."""
    lane: Mapped[str] = mapped_column(String)
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """Higher runs sooner, within its tenant; see services/ledger/waiting.py."""
    deadline: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    """What has not started by then expires."""
    family: Mapped[str | None] = mapped_column(String)
    model: Mapped[str | None] = mapped_column(String)
    """As the client named it: the model to run, or to make."""
    model_version_id: Mapped[str | None] = mapped_column(String)
    dataset_id: Mapped[str | None] = mapped_column(String)
    validation_dataset_id: Mapped[str | None] = mapped_column(String)
    """What a training is measured on, where its client named something for that."""
    endpoint: Mapped[str | None] = mapped_column(String)
    """Whose requests the lines of its input file are, for a batch of the OpenAI API."""
    input_file_id: Mapped[str | None] = mapped_column(String)
    output_file_id: Mapped[str | None] = mapped_column(String)
    error_file_id: Mapped[str | None] = mapped_column(String)
    webhook_id: Mapped[str | None] = mapped_column(String)
    """A webhook that is told of its end, whatever events it otherwise wants."""
    params: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    meta: Mapped[dict[str, str]] = mapped_column("metadata", JSONB, server_default="{}")

    total: Mapped[int] = mapped_column(BigInteger, server_default="0")
    queued: Mapped[int] = mapped_column(BigInteger, server_default="0")
    running: Mapped[int] = mapped_column(BigInteger, server_default="0")
    done: Mapped[int] = mapped_column(BigInteger, server_default="0")
    failed: Mapped[int] = mapped_column(BigInteger, server_default="0")
    cancelled: Mapped[int] = mapped_column(BigInteger, server_default="0")
    expired: Mapped[int] = mapped_column(BigInteger, server_default="0")
    cost: Mapped[float] = mapped_column(Float, server_default="0")
    """Of all its items together."""
    progress: Mapped[float] = mapped_column(REAL, server_default="0")
    """0 to 1, for jobs of one long item; other jobs count items."""
    compute_seconds: Mapped[float] = mapped_column(Float, server_default="0")
    trained_tokens: Mapped[int | None] = mapped_column(BigInteger)
    """Tokens from which a training has learnt, counted anew in every pass over them."""
    usage: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """Tokens read and written, once a batch's result files are."""
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    warnings: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    over_budget: Mapped[bool] = mapped_column(server_default="false")
    """It is paused because its budget is spent, and not by somebody; see services/overdrafts.py."""

    request_id: Mapped[str | None] = mapped_column(String, default=lambda: id_of("request"))
    """The request that made it, for logs."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    reconciled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    """When its objects in storage were found to be those that its outputs name."""


class Item(Base):
    """One unit of a job that is claimed, run and committed by itself."""

    __tablename__ = "items"
    __table_args__ = (
        Index("items_by_job", "job_id", "id"),
        Index(
            "items_by_custom_id",
            "job_id",
            "custom_id",
            postgresql_where=text("custom_id IS NOT NULL"),
        ),
        # No index on the state, so that a state's change touches no index.
        {"postgresql_with": {"fillfactor": "85"}},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    # No foreign key: its check, a row at a time, would double the time of accepting a million
    # items.
    job_id: Mapped[str] = mapped_column(String)
    seq: Mapped[int] = mapped_column(Integer)
    """Its place in the job's input, from 0; within a job, ids rise with it."""
    step: Mapped[str] = mapped_column(String, server_default="run")
    """A member of shared.states.Step."""
    state: Mapped[str] = mapped_column(String, server_default="queued")
    """A member of shared.states.ItemState."""
    custom_id: Mapped[str | None] = mapped_column(String)
    params: Mapped[dict[str, Any]] = mapped_column(JSONB)
    form: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """What of its request to an endpoint shapes only the answer, and as `names` what the client
    calls some parameters; see shared/endpoint.py.
    """
    flow_id: Mapped[int] = mapped_column(Integer)
    batch_key: Mapped[str] = mapped_column(String)
    cost: Mapped[float] = mapped_column(REAL, server_default="1")
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """Claims that spent an attempt; a release gives its attempt back."""
    crashes: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    lease_token: Mapped[Any | None] = mapped_column(Uuid)
    """The only lease that may commit it."""
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Event(Base):
    """Something that happened to a job: a state, progress, losses, metrics, a sample sheet."""

    __tablename__ = "events"
    __table_args__ = (Index("events_by_job", "job_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    type: Mapped[str] = mapped_column(String)
    level: Mapped[str] = mapped_column(String, server_default="info")
    message: Mapped[str] = mapped_column(String)
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
