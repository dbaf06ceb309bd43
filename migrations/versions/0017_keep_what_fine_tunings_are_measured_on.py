"""keep what a training is measured on, and how many tokens it has learnt from."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("validation_dataset_id", sa.String()))
    op.add_column("jobs", sa.Column("trained_tokens", sa.BigInteger()))


def downgrade() -> None:
    op.drop_column("jobs", "trained_tokens")
    op.drop_column("jobs", "validation_dataset_id")
