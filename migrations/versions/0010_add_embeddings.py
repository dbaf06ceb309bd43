"""add embeddings: their jobs, too, are looked through for objects that no output names."""

import sqlalchemy as sa

from migrations import indexes

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    indexes.build(
        "jobs_to_look_through",
        "jobs",
        ["finished_at"],
        postgresql_where=sa.text("reconciled_at IS NULL AND kind IN ('generation', 'embedding')"),
    )
    indexes.drop("jobs_to_reconcile", "jobs")


def downgrade() -> None:
    indexes.build(
        "jobs_to_reconcile",
        "jobs",
        ["finished_at"],
        postgresql_where=sa.text("reconciled_at IS NULL AND kind = 'generation'"),
    )
    indexes.drop("jobs_to_look_through", "jobs")
