"""add batches: whose requests a job's lines are, the form of their answers, and tokens used."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from migrations import indexes

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("endpoint", sa.String(), nullable=True), if_not_exists=True)
    indexes.build(
        "jobs_batches",
        "jobs",
        ["tenant_id", "id"],
        postgresql_where=sa.text("endpoint IS NOT NULL"),
    )
    op.add_column("jobs", sa.Column("usage", JSONB(), nullable=True))
    op.add_column("items", sa.Column("form", JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_index(
        "jobs_batches", table_name="jobs", postgresql_where=sa.text("endpoint IS NOT NULL")
    )
    op.drop_column("items", "form")
    op.drop_column("jobs", "usage")
    op.drop_column("jobs", "endpoint")
