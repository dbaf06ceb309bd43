"""let keys give verdicts beside people, and list a tenant's verdicts."""

import sqlalchemy as sa
from alembic import op

from migrations import indexes

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

# Whichever release writes a verdict, and whatever it claims: the tenant is the output's.
_FUNCTION = """
    CREATE OR REPLACE FUNCTION own_verdict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.tenant_id := (SELECT tenant_id FROM outputs WHERE id = NEW.output_id);
        RETURN NEW;
    END $$
"""
_TRIGGER = """
    CREATE OR REPLACE TRIGGER own BEFORE INSERT ON verdicts
    FOR EACH ROW EXECUTE FUNCTION own_verdict()
"""
# One statement: people write verdicts, so they are few, and none is ever changed.
_FILL = """
    UPDATE verdicts SET tenant_id = outputs.tenant_id FROM outputs
    WHERE outputs.id = verdicts.output_id AND verdicts.tenant_id IS NULL
"""


def upgrade() -> None:
    op.add_column("verdicts", sa.Column("tenant_id", sa.String()), if_not_exists=True)
    op.add_column("verdicts", sa.Column("key_id", sa.String()), if_not_exists=True)
    op.alter_column("verdicts", "user_id", nullable=True)
    op.execute(_FUNCTION)
    op.execute(_TRIGGER)
    with op.get_context().autocommit_block():
        op.execute(_FILL)
    indexes.build("verdicts_by_tenant", "verdicts", ["tenant_id", "id"])


def downgrade() -> None:
    op.drop_index("verdicts_by_tenant", table_name="verdicts")
    op.execute("DROP TRIGGER own ON verdicts")
    op.execute("DROP FUNCTION own_verdict()")
    # The release before knows of none that are not a person's.
    op.execute("DELETE FROM verdicts WHERE user_id IS NULL")
    op.alter_column("verdicts", "user_id", nullable=False)
    op.drop_column("verdicts", "key_id")
    op.drop_column("verdicts", "tenant_id")
