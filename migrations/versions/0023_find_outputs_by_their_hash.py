"""find outputs by the hash of their bytes, to tell where a file comes from."""

from alembic import op

from migrations import indexes

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    indexes.build("outputs_by_hash", "outputs", ["tenant_id", "sha256", "id"])


def downgrade() -> None:
    op.drop_index("outputs_by_hash", table_name="outputs")
