"""add when a job's objects were looked through, and indexes to find old rows by."""

import sqlalchemy as sa
from alembic import op

from migrations import indexes

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column("reconciled_at", sa.DateTime(timezone=True), nullable=True),
        if_not_exists=True,
    )
    indexes.build("jobs_by_end", "jobs", ["kind", "finished_at"])
    indexes.build(
        "jobs_to_reconcile",
        "jobs",
        ["finished_at"],
        postgresql_where=sa.text("reconciled_at IS NULL AND kind = 'generation'"),
    )
    indexes.build("webhook_events_by_time", "webhook_events", ["created_at"])


def downgrade() -> None:
    op.drop_index("webhook_events_by_time", table_name="webhook_events")
    op.drop_index(
        "jobs_to_reconcile",
        table_name="jobs",
        postgresql_where=sa.text("reconciled_at IS NULL AND kind = 'generation'"),
    )
    op.drop_index("jobs_by_end", table_name="jobs")
    op.drop_column("jobs", "reconciled_at")
