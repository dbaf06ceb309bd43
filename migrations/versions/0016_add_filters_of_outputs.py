"""add the label of outputs as a column, and indexes to list them by it and by media type.

The column is computed, so that the release before fills it too: its table is written anew once, and
nobody gets at outputs meanwhile.
"""

import sqlalchemy as sa
from alembic import op

from migrations import indexes

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# Behind row-level security no index on an expression over `facts` would be used.
_LABEL = """
    CASE WHEN jsonb_typeof(facts -> 'label'::text) = 'string'::text
            AND length(facts ->> 'label'::text) <= 200
        THEN facts ->> 'label'::text ELSE NULL::text END
"""
_HAS_LABEL = sa.text("label IS NOT NULL")


def upgrade() -> None:
    op.add_column(
        "outputs",
        sa.Column("label", sa.String(), sa.Computed(_LABEL, persisted=True)),
        if_not_exists=True,
    )
    indexes.build(
        "outputs_by_label", "outputs", ["tenant_id", "label", "id"], postgresql_where=_HAS_LABEL
    )
    indexes.build("outputs_by_media_type", "outputs", ["tenant_id", "media_type", "id"])


def downgrade() -> None:
    op.drop_index("outputs_by_media_type", table_name="outputs")
    op.drop_index("outputs_by_label", table_name="outputs", postgresql_where=_HAS_LABEL)
    op.drop_column("outputs", "label")
