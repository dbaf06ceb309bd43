"""raise the wall between tenants: row-level security, and what may be known beyond it."""

import sqlalchemy as sa
from alembic import op

from migrations import indexes

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_OWN_TENANT = "{column} = (SELECT wall.tenant())"
# A look at each row's parent. With EXISTS a plan may read all of a tenant's jobs first instead.
_THROUGH = "(SELECT true FROM {parent} WHERE {parent}.id = {table}.{column})"
# The flows of a tenant are at most as many as there are lanes: looked up once for a statement,
# they cost a row next to nothing, where a look at its job would double the time of accepting.
_OWN_FLOW = "flow_id = ANY ((SELECT wall.own_flows())::int[])"

RULES = {
    "tenants": _OWN_TENANT.format(column="id"),
    "items": _OWN_FLOW,
    "queue": _OWN_FLOW,
    "events": _THROUGH.format(table="events", column="job_id", parent="jobs"),
    "checkpoints": _THROUGH.format(table="checkpoints", column="job_id", parent="jobs"),
    "model_versions": _THROUGH.format(table="model_versions", column="model_id", parent="models"),
    "verdicts": _THROUGH.format(table="verdicts", column="output_id", parent="outputs"),
    "deliveries": _THROUGH.format(table="deliveries", column="webhook_id", parent="webhooks"),
    "upload_parts": _THROUGH.format(table="upload_parts", column="upload_id", parent="uploads"),
}
"""Which rows of the tables without a tenant of their own a tenant may see and write."""
CLOSED = ("leases",)
"""Tables of which it may see none."""

_KEYS = """
    CREATE TABLE wall.keys (role text PRIMARY KEY, key bytea NOT NULL)
"""

# What is signed no role can claim that does not hold the key, though it may set any variable.
_TENANT = """
    CREATE FUNCTION wall.tenant() RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    DECLARE
        claim text := current_setting('atelier.tenant', true);
        named text := split_part(claim, ':', 1);
        secret bytea;
    BEGIN
        IF coalesce(claim, '') = '' THEN
            RETURN NULL;
        END IF;
        SELECT key INTO secret FROM wall.keys WHERE role = session_user;
        IF claim IS DISTINCT FROM named || ':' || encode(
            sha256(secret || sha256(secret || convert_to(named, 'UTF8'))), 'hex')
        THEN
            RAISE insufficient_privilege USING MESSAGE = 'the tenant is not signed with the key '
                'of role ' || session_user || '; after a change of its password: atelier migrate';
        END IF;
        RETURN named;
    END $$
"""
_OWN_FLOWS = """
    CREATE FUNCTION wall.own_flows() RETURNS int[]
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = public, pg_temp
    AS $$ BEGIN
        RETURN ARRAY(SELECT id FROM flows WHERE tenant_id = wall.tenant());
    END $$
"""
_KEY_OF = """
    CREATE FUNCTION wall.key_of(shown bytea)
    RETURNS TABLE (id varchar, tenant_id varchar, scopes varchar[])
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    AS $$
    DECLARE
        found keys;
    BEGIN
        SELECT * INTO found FROM keys
        WHERE keys.hash = shown AND keys.revoked_at IS NULL
            AND (keys.expires_at IS NULL OR keys.expires_at > now());
        IF found.id IS NULL THEN
            RETURN;
        END IF;
        IF found.last_used_at IS NULL OR found.last_used_at < now() - interval '1 minute' THEN
            UPDATE keys SET last_used_at = now() WHERE keys.id = found.id;
        END IF;
        RETURN QUERY SELECT found.id, found.tenant_id, found.scopes;
    END $$
"""
_PERSON = """
    CREATE FUNCTION wall.person_of_{by}(shown text) RETURNS SETOF users
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    AS $$ BEGIN
        RETURN QUERY SELECT * FROM users WHERE {matches};
    END $$
"""

# Views show what their owner sees.
_FLOWS_OF_ALL = """
    CREATE VIEW wall.flows_of_all AS SELECT lane, vtime, queued FROM flows
"""
# From the flows' counters and the first row of each: as cheap with ten million items as with ten.
_LANES = """
    CREATE VIEW wall.lanes AS
    SELECT flows.lane, sum(flows.queued) AS queued, sum(flows.running) AS running,
        sum(flows.cost) FILTER (WHERE paused.lane IS NULL) AS claimable_cost,
        coalesce(extract(epoch FROM now() - min(first.available_at)), 0) AS oldest_s
    FROM flows
    LEFT JOIN paused_lanes paused ON paused.lane = flows.lane
    LEFT JOIN LATERAL (
        SELECT available_at FROM queue
        WHERE flow_id = flows.id AND available_at <= now() AND paused.lane IS NULL
        ORDER BY rank, item_id LIMIT 1
    ) first ON flows.queued > 0
    GROUP BY flows.lane
"""
_DELIVERIES_OF_ALL = """
    CREATE VIEW wall.deliveries_of_all AS
    SELECT count(*) AS pending FROM deliveries WHERE state = 'pending'
"""

_DISMISS_ROLES = """
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT role FROM wall.keys JOIN pg_roles ON rolname = role LOOP
            EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %I', name);
        END LOOP;
    END $$
"""


def upgrade() -> None:
    indexes.build("flows_by_tenant", "flows", ["tenant_id"])
    op.execute("CREATE SCHEMA wall")
    for statement in (_KEYS, _TENANT, _OWN_FLOWS, _KEY_OF):
        op.execute(statement)
    op.execute(_PERSON.format(by="email", matches="email = lower(shown)"))
    op.execute(_PERSON.format(by="session", matches="fs_uniquifier = shown"))
    for view in (_FLOWS_OF_ALL, _LANES, _DELIVERIES_OF_ALL):
        op.execute(view)
    for finder in ("key_of(bytea)", "person_of_email(text)", "person_of_session(text)"):
        op.execute(f"REVOKE EXECUTE ON FUNCTION wall.{finder} FROM PUBLIC")
    for table, rule in _rules().items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant ON {table} USING ({rule})")
    for table in CLOSED:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")


def _rules() -> dict[str, str]:
    """The rule of each table whose rows belong to a tenant."""
    inspector = sa.inspect(op.get_bind())
    with_tenant = [
        table
        for table in inspector.get_table_names()
        if any(column["name"] == "tenant_id" for column in inspector.get_columns(table))
    ]
    return dict.fromkeys(with_tenant, _OWN_TENANT.format(column="tenant_id")) | RULES


def downgrade() -> None:
    # Without policies their roles would see everything.
    op.execute(_DISMISS_ROLES)
    for table in _rules():
        op.execute(f"DROP POLICY tenant ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    for table in CLOSED:
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    op.execute("DROP SCHEMA wall CASCADE")
    op.drop_index("flows_by_tenant", table_name="flows")
