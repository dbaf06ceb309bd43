"""add embeddings: their jobs, too, are looked through for objects that no output names."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "jobs_to_look_through",
        "jobs",
        ["finished_at"],
        postgresql_where=sa.text("reconciled_at IS NULL AND kind IN ('generation', 'embedding')"),
    )
    op.drop_index(
        "jobs_to_reconcile",
        table_name="jobs",
        postgresql_where=sa.text("reconciled_at IS NULL AND kind = 'generation'"),
    )


def downgrade() -> None:
    op.create_index(
        "jobs_to_reconcile",
        "jobs",
        ["finished_at"],
        postgresql_where=sa.text("reconciled_at IS NULL AND kind = 'generation'"),
    )
    op.drop_index(
        "jobs_to_look_through",
        table_name="jobs",
        postgresql_where=sa.text("reconciled_at IS NULL AND kind IN ('generation', 'embedding')"),
    )
