"""remember of a data set which judged outputs it was made from."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("datasets", sa.Column("outputs", postgresql.JSONB()))


def downgrade() -> None:
    op.drop_column("datasets", "outputs")
