"""The role of the embedded PostgreSQL as which the API connects: made at every start that lacks it,
also on the data of older releases.
"""

import psycopg
from psycopg import sql

from shared.embedded.errors import EngineFailed
from shared.embedded.home import Home, secret

API_ROLE = "atelier_api"


def make_api_role(home: Home, port: int) -> None:
    """Make the API's role, or give it the password of the home's secrets again.

    Raises EngineFailed.
    """
    password = secret(home.path, "database_superuser_password")
    address = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
    try:
        with psycopg.connect(address, autocommit=True, connect_timeout=5) as connection:
            _make(connection, secret(home.path, "api_database_password"))
    except psycopg.OperationalError as error:
        raise EngineFailed(
            "The API's role could not be made in the embedded database. If the home's file "
            f"`secrets/database_superuser_password` was lost, put it back: {error}"
        ) from error


def _make(connection: psycopg.Connection, password: str) -> None:
    role = sql.Identifier(API_ROLE)
    known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (API_ROLE,)).fetchone()
    if known is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    # What the server's log may show is no password.
    encrypted = connection.pgconn.encrypt_password(
        password.encode(), API_ROLE.encode(), b"scram-sha-256"
    )
    change = sql.SQL("ALTER ROLE {} PASSWORD {}")
    connection.execute(change.format(role, sql.Literal(encrypted.decode())))


def for_api(home: Home, port: int) -> str:
    """The address of the database for that role, as SQLAlchemy wants it."""
    password = secret(home.path, "api_database_password")
    return f"postgresql+psycopg://{API_ROLE}:{password}@127.0.0.1:{port}/atelier"
