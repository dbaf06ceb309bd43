"""add the label of outputs as a column, and indexes to list them by it and by media type."""

import sqlalchemy as sa
from alembic import op

from migrations import indexes, labels

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_HAS_LABEL = sa.text("label IS NOT NULL")


def upgrade() -> None:
    op.add_column("outputs", sa.Column("label", sa.String()), if_not_exists=True)
    labels.keep()
    labels.fill()
    indexes.build(
        "outputs_by_label", "outputs", ["tenant_id", "label", "id"], postgresql_where=_HAS_LABEL
    )
    indexes.build("outputs_by_media_type", "outputs", ["tenant_id", "media_type", "id"])


def downgrade() -> None:
    op.drop_index("outputs_by_media_type", table_name="outputs")
    op.drop_index("outputs_by_label", table_name="outputs", postgresql_where=_HAS_LABEL)
    labels.forget()
    op.drop_column("outputs", "label")
