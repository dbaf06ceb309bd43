"""let outputs name their job and tenant unchecked: whoever adds one holds the job's row."""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_NAMED = {
    "outputs_job_id_fkey": ("jobs", "job_id"),
    "outputs_tenant_id_fkey": ("tenants", "tenant_id"),
}


def upgrade() -> None:
    # In the order in which a commit locks them, so that neither waits for the other.
    op.execute("LOCK TABLE jobs, tenants, outputs IN ACCESS EXCLUSIVE MODE")
    for name in _NAMED:
        op.execute(f"ALTER TABLE outputs DROP CONSTRAINT IF EXISTS {name}")


def downgrade() -> None:
    for name, (table, column) in _NAMED.items():
        op.create_foreign_key(name, "outputs", table, [column], ["id"], ondelete="CASCADE")
