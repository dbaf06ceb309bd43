"""add a tenant's retention and its most requests in a minute, which come with the look at a key."""

import sqlalchemy as sa
from alembic import op

from migrations import indexes

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_ENDED_WITH_OUTPUTS = sa.text("finished_at IS NOT NULL AND kind IN ('generation', 'embedding')")

# As `wall.key_of`, which the release before still asks, with what else is known of the tenant.
_CALLER_OF = """
    CREATE FUNCTION wall.caller_of(shown bytea)
    RETURNS TABLE (id varchar, tenant_id varchar, scopes varchar[], max_requests int)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    AS $$
    DECLARE
        caller record;
    BEGIN
        SELECT keys.*, tenants.max_requests INTO caller
        FROM keys JOIN tenants ON tenants.id = keys.tenant_id
        WHERE keys.hash = shown AND keys.revoked_at IS NULL
            AND (keys.expires_at IS NULL OR keys.expires_at > now());
        IF NOT FOUND THEN
            RETURN;
        END IF;
        IF caller.last_used_at IS NULL OR caller.last_used_at < now() - interval '1 minute' THEN
            UPDATE keys SET last_used_at = now() WHERE keys.id = caller.id;
        END IF;
        RETURN QUERY SELECT caller.id, caller.tenant_id, caller.scopes, caller.max_requests;
    END $$
"""


def upgrade() -> None:
    indexes.build(
        "jobs_to_forget",
        "jobs",
        ["tenant_id", "finished_at"],
        postgresql_where=_ENDED_WITH_OUTPUTS,
    )
    op.add_column("tenants", sa.Column("max_requests", sa.Integer(), nullable=True))
    op.add_column("tenants", sa.Column("retention_days", sa.Float(), nullable=True))
    op.execute(_CALLER_OF)
    op.execute("REVOKE EXECUTE ON FUNCTION wall.caller_of(bytea) FROM PUBLIC")


def downgrade() -> None:
    op.execute("DROP FUNCTION wall.caller_of(bytea)")
    op.drop_index("jobs_to_forget", table_name="jobs", postgresql_where=_ENDED_WITH_OUTPUTS)
    op.drop_column("tenants", "retention_days")
    op.drop_column("tenants", "max_requests")
