"""keep the label of outputs by a trigger where it was a computed column.

A database that 0016 has reached in its present form knows it no other way.
"""

from alembic import op

from migrations import labels

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE outputs ALTER COLUMN label DROP EXPRESSION IF EXISTS")
    labels.keep()


def downgrade() -> None:
    pass
