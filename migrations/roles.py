"""The API's role: checked, and given what the API needs and nothing else, at every `migrate`."""

from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from shared import wall
from shared.db import engine
from shared.errors import Permanent
from shared.settings import settings

OF_TENANTS = "SELECT, INSERT, UPDATE, DELETE"
"""On the tables that the wall guards, and that are not named here."""
GRANTS = {
    # To lock a tenant's row, a role must be allowed to write some column of it: a harmless one.
    "tenants": "SELECT, UPDATE (created_at)",
    "verdicts": "SELECT, INSERT",
    "leases": None,
    "usage": "SELECT",
    "usage_entries": "SELECT",
    "workers": "SELECT",
    "paused_lanes": "SELECT",
    "metrics": "SELECT, INSERT, UPDATE",
}

_RAISED = text("SELECT to_regnamespace('wall') IS NOT NULL")
_GUARDED = text("""
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relrowsecurity
""")
_UNBOUND = text("""
    SELECT bool_or(pg_has_role(api.oid, other.oid, 'MEMBER')) FROM pg_roles api, pg_roles other
    WHERE api.rolname = :role
        AND (other.rolsuper OR other.rolbypassrls OR other.rolname = current_user)
    GROUP BY api.oid
""")
_SET_KEY = text("""
    INSERT INTO wall.keys (role, key) VALUES (:role, :key)
    ON CONFLICT (role) DO UPDATE SET key = excluded.key
""")


def admit_api() -> None:
    """Let the role of `api_database_url`, if there is one, do what the API does.

    Raises Permanent when there is no such role, or when the wall would not stop it.
    """
    url = settings().api_database_url
    if url is None:
        return
    role = str(make_url(url).username)
    with engine().begin() as connection:
        if connection.execute(_RAISED).scalar_one():
            _check(connection, role)
            _grant(connection, role)
            connection.execute(_SET_KEY, {"role": role, "key": wall.key()})


def _check(connection: Connection, role: str) -> None:
    unbound = connection.execute(_UNBOUND, {"role": role}).scalar_one_or_none()
    if unbound is None:
        raise Permanent(
            f"There is no role {role}, which ATELIER_API_DATABASE_URL names. As a superuser of "
            f"the server: CREATE ROLE {role} LOGIN PASSWORD '…'"
        )
    if unbound:
        raise Permanent(
            f"Row-level security does not bind the role {role}, which ATELIER_API_DATABASE_URL "
            "names: it must be no superuser, not have BYPASSRLS, not be the tables' owner, and be "
            "no member of such a role"
        )


def _grant(connection: Connection, role: str) -> None:
    """Exactly these rights, in one transaction: who is at work notices nothing."""
    quoted = connection.dialect.identifier_preparer.quote_identifier(role)
    guarded = set(connection.execute(_GUARDED).scalars())
    connection.exec_driver_sql(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {quoted}")
    for table, rights in (dict.fromkeys(guarded, OF_TENANTS) | GRANTS).items():
        if rights is not None:
            connection.exec_driver_sql(f"GRANT {rights} ON {table} TO {quoted}")
    for rights in (
        "USAGE ON SCHEMA public, wall",
        "EXECUTE ON ALL FUNCTIONS IN SCHEMA wall",
        "SELECT ON wall.flows_of_all, wall.lanes, wall.deliveries_of_all",
    ):
        connection.exec_driver_sql(f"GRANT {rights} TO {quoted}")
    database = connection.dialect.identifier_preparer.quote_identifier(
        connection.exec_driver_sql("SELECT current_database()").scalar_one()
    )
    # For what is accepted: it comes through a temporary table.
    connection.exec_driver_sql(f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {quoted}")
