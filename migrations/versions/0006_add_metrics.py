"""add what processes count, and the cost that waits in each flow."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "flows",
        sa.Column("cost", sa.Float(), server_default="0", nullable=False),
        if_not_exists=True,
    )
    # All of the queue is read while others use it and the flows.
    with op.get_context().autocommit_block():
        op.execute("""
            UPDATE flows SET cost = waiting.cost FROM (
                SELECT flow_id, sum(cost) AS cost FROM queue GROUP BY flow_id) waiting
            WHERE waiting.flow_id = flows.id
        """)
    op.create_table(
        "metrics",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("labels", sa.String(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", "labels"),
    )


def downgrade() -> None:
    op.drop_column("flows", "cost")
    op.drop_table("metrics")
