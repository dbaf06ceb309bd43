"""add pauses of lanes, deadlines of jobs, limits of items that run."""

import sqlalchemy as sa
from alembic import op

from migrations import indexes

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=True),
        if_not_exists=True,
    )
    indexes.build(
        "jobs_by_deadline",
        "jobs",
        ["deadline"],
        postgresql_where=sa.text(
            "deadline IS NOT NULL AND state IN ('validating', 'queued', 'running', 'paused')"
        ),
    )
    op.create_table(
        "paused_lanes",
        sa.Column("lane", sa.String(), nullable=False),
        sa.Column(
            "paused_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("lane"),
    )
    op.add_column("tenants", sa.Column("max_running", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_index("jobs_by_deadline", table_name="jobs")
    op.drop_column("jobs", "deadline")
    op.drop_column("tenants", "max_running")
    op.drop_table("paused_lanes")
