"""add indexes for the filters of lists."""

import sqlalchemy as sa
from alembic import op

from migrations import indexes

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_HAS_METADATA = sa.text("metadata <> '{}'::jsonb")
_UNRELEASED = sa.text("state <> 'released'")


def upgrade() -> None:
    indexes.build("jobs_by_state", "jobs", ["tenant_id", "state", "id"])
    indexes.build("jobs_by_model", "jobs", ["tenant_id", "model", "id"])
    indexes.build("jobs_by_version", "jobs", ["model_version_id"])
    indexes.build(
        "jobs_by_metadata",
        "jobs",
        ["metadata"],
        postgresql_using="gin",
        postgresql_where=_HAS_METADATA,
    )
    indexes.build(
        "outputs_unreleased",
        "outputs",
        ["tenant_id", "state", "id"],
        postgresql_where=_UNRELEASED,
    )


def downgrade() -> None:
    op.drop_index("outputs_unreleased", table_name="outputs", postgresql_where=_UNRELEASED)
    op.drop_index("jobs_by_metadata", table_name="jobs", postgresql_where=_HAS_METADATA)
    for name in ("jobs_by_version", "jobs_by_model", "jobs_by_state"):
        op.drop_index(name, table_name="jobs")
