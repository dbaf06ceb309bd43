"""keep failures with their logs, and which request made a job."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "failures",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("ended", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("log", sa.String(), server_default="", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("failures_by_job", "failures", ["job_id", "item_id"])
    op.create_index("failures_by_tenant", "failures", ["tenant_id", "id"])
    op.create_index(
        "failures_ended",
        "failures",
        ["tenant_id", "reason", "id"],
        postgresql_where=sa.text("ended"),
    )
    op.add_column("leases", sa.Column("log", sa.String(), server_default="", nullable=False))
    op.add_column("jobs", sa.Column("request_id", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "request_id")
    op.drop_column("leases", "log")
    op.drop_index("failures_ended", table_name="failures", postgresql_where=sa.text("ended"))
    op.drop_index("failures_by_tenant", table_name="failures")
    op.drop_index("failures_by_job", table_name="failures")
    op.drop_table("failures")
