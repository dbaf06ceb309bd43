"""add quotas of tenants, and the bytes that their outputs take."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "flows",
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        if_not_exists=True,
    )
    # All outputs are read while others use the tables.
    with op.get_context().autocommit_block():
        op.execute("""
            UPDATE flows SET bytes = made.bytes FROM (
                SELECT items.flow_id, sum(outputs.bytes) AS bytes
                FROM outputs JOIN items ON items.id = outputs.item_id GROUP BY items.flow_id) made
            WHERE made.flow_id = flows.id
        """)
    op.add_column("tenants", sa.Column("max_queued", sa.BigInteger(), nullable=True))
    op.add_column("tenants", sa.Column("max_bytes", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("flows", "bytes")
    op.drop_column("tenants", "max_bytes")
    op.drop_column("tenants", "max_queued")
