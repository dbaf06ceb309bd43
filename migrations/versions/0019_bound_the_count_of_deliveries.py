"""bound the count of deliveries that wait, which grew dearer with each of them."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_DELIVERIES_OF_ALL = """
    CREATE OR REPLACE VIEW wall.deliveries_of_all AS
    SELECT count(*) AS pending FROM ({pending}) waiting
"""
_PENDING = "SELECT FROM deliveries WHERE state = 'pending'"


def upgrade() -> None:
    op.execute(_DELIVERIES_OF_ALL.format(pending=f"{_PENDING} LIMIT 10000"))


def downgrade() -> None:
    op.execute(_DELIVERIES_OF_ALL.format(pending=_PENDING))
