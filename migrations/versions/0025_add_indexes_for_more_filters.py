"""add indexes to find an item by its client's own id, jobs by their data set, failures by time."""

import sqlalchemy as sa
from alembic import op

from migrations import indexes

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_HAS_CUSTOM_ID = sa.text("custom_id IS NOT NULL")
_HAS_DATASET = sa.text("dataset_id IS NOT NULL")


def upgrade() -> None:
    indexes.build(
        "items_by_custom_id", "items", ["job_id", "custom_id"], postgresql_where=_HAS_CUSTOM_ID
    )
    indexes.build(
        "jobs_by_dataset", "jobs", ["tenant_id", "dataset_id", "id"], postgresql_where=_HAS_DATASET
    )
    indexes.build("failures_by_time", "failures", ["tenant_id", "created_at"])


def downgrade() -> None:
    op.drop_index("failures_by_time", table_name="failures")
    op.drop_index("jobs_by_dataset", table_name="jobs", postgresql_where=_HAS_DATASET)
    op.drop_index("items_by_custom_id", table_name="items", postgresql_where=_HAS_CUSTOM_ID)
