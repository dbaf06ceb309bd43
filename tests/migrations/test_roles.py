"""The API's role: what it is given, and who is refused."""

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, make_url, text

from migrations.commands import config, downgrade, upgrade
from migrations.roles import admit_api
from shared.db import engine
from shared.errors import Permanent
from shared.settings import settings
from tests.settings import forget_settings

ROLE = "atelier_api"
BEFORE = next(
    str(script.down_revision)
    for script in ScriptDirectory.from_config(config()).walk_revisions()
    if script.path.endswith("raise_the_wall.py")
)
"""The revision before there was a wall."""


def rights() -> set[tuple[str, str]]:
    """Each table and what the role may do with it."""
    with engine().connect() as connection:
        found = connection.execute(
            text("""
                SELECT relname, privilege_type FROM pg_class, aclexplode(relacl)
                WHERE grantee = cast(:role AS regrole) AND relkind = 'r'
            """),
            {"role": ROLE},
        )
        return {(row.relname, row.privilege_type) for row in found}


def name_role(change: pytest.MonkeyPatch, role: str) -> None:
    url = make_url(str(settings().api_database_url)).set(username=role)
    change.setenv("ATELIER_API_DATABASE_URL", url.render_as_string(hide_password=False))
    forget_settings()


def test_an_upgrade_gives_the_role_its_rights_and_no_others(empty: Engine) -> None:
    upgrade()
    given = rights()
    with empty.begin() as connection:
        connection.execute(text(f"GRANT ALL ON leases, workers TO {ROLE}"))

    upgrade()

    assert rights() == given
    assert {right for table, right in given if table == "jobs"} == {
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
    }
    assert {right for table, right in given if table == "verdicts"} == {"SELECT", "INSERT"}
    assert {table for table, _ in given} & {"leases", "alembic_version"} == set()


def test_before_the_wall_the_role_has_no_rights(empty: Engine) -> None:
    upgrade(BEFORE)
    assert rights() == set()

    upgrade()
    assert rights() != set()

    downgrade(BEFORE)
    assert rights() == set()


def test_a_role_that_is_not_there_is_refused_with_the_remedy(
    empty: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade()
    name_role(monkeypatch, "nobody_of_ours")

    with pytest.raises(Permanent, match="CREATE ROLE nobody_of_ours LOGIN PASSWORD"):
        admit_api()


def test_a_role_that_the_wall_does_not_stop_is_refused(
    empty: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade()

    for role in ("atelier", "postgres"):
        name_role(monkeypatch, role)
        with pytest.raises(Permanent, match=f"does not bind the role {role}"):
            admit_api()


def test_without_a_role_nobody_is_given_anything(
    empty: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ATELIER_API_DATABASE_URL")
    forget_settings()

    upgrade()

    assert rights() == set()
