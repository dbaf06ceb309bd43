"""Usage: what each key's jobs took, by day and model; it outlives the jobs."""

from datetime import date

from sqlalchemy import BigInteger, Date, Float, ForeignKey, Identity, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from shared.tables.base import Base


class Usage(Base):
    """The sums of one day for one key, kind of job and model version.

    Only the sweeper writes here, from `usage_entries`: workers fight for no row of it.
    """

    __tablename__ = "usage"
    __table_args__ = (
        UniqueConstraint(
            "tenant_id",
            "day",
            "key_id",
            "kind",
            "family",
            "model",
            "model_version_id",
            name="usage_sums",
            postgresql_nulls_not_distinct=True,
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    day: Mapped[date] = mapped_column(Date)
    """On which it was committed, in UTC."""
    key_id: Mapped[str | None] = mapped_column(String)
    """The key that asked for the job, where that is known."""
    kind: Mapped[str] = mapped_column(String)
    """A member of shared.states.JobKind; for a step that is not `run`, of Step."""
    family: Mapped[str | None] = mapped_column(String)
    model: Mapped[str | None] = mapped_column(String)
    """The name of what ran, or of what a training makes, without a version."""
    model_version_id: Mapped[str | None] = mapped_column(String)
    compute_seconds: Mapped[float] = mapped_column(Float, server_default="0")
    cost: Mapped[float] = mapped_column(Float, server_default="0")
    """Of the items that were done: what compute seconds are divided by to get a price."""
    items_done: Mapped[int] = mapped_column(BigInteger, server_default="0")
    items_failed: Mapped[int] = mapped_column(BigInteger, server_default="0")
    outputs: Mapped[int] = mapped_column(BigInteger, server_default="0")
    bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    input_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    output_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")


class UsageEntry(Base):
    """What one commit adds to the sums: inserted, never changed, and soon taken by the sweeper."""

    __tablename__ = "usage_entries"
    __table_args__ = (
        {
            # Rows come with every commit and go within seconds, as those of the queue do.
            "postgresql_with": {
                "autovacuum_vacuum_scale_factor": "0",
                "autovacuum_vacuum_threshold": "20000",
                "autovacuum_vacuum_cost_delay": "0",
            }
        },
    )

    # No foreign key: its check would lock the tenant's row once more in every commit.
    tenant_id: Mapped[str] = mapped_column(String, primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    day: Mapped[date] = mapped_column(Date)
    key_id: Mapped[str | None] = mapped_column(String)
    kind: Mapped[str] = mapped_column(String)
    family: Mapped[str | None] = mapped_column(String)
    model: Mapped[str | None] = mapped_column(String)
    model_version_id: Mapped[str | None] = mapped_column(String)
    compute_seconds: Mapped[float] = mapped_column(Float)
    cost: Mapped[float] = mapped_column(Float)
    items_done: Mapped[int] = mapped_column(BigInteger)
    items_failed: Mapped[int] = mapped_column(BigInteger)
    outputs: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
