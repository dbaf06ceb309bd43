"""add what processes count, and the cost that waits in each flow."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "metrics",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("labels", sa.String(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", "labels"),
    )
    op.add_column("flows", sa.Column("cost", sa.Float(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("flows", "cost")
    op.drop_table("metrics")
