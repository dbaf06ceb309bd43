"""The wall between tenants: what the API's role sees and writes of every table there is."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ColumnElement,
    Executable,
    Table,
    and_,
    delete,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from shared import wall
from shared.db import reading, transaction
from shared.errors import Permanent
from shared.services import tenants
from shared.settings import settings
from shared.tables.metadata import metadata
from tests.filling import Row, fill
from tests.settings import forget_settings

OF_NO_TENANT = {"workers", "paused_lanes", "metrics"}
"""Tables that tell nothing of any tenant. A new one must be added here, on purpose."""
CLOSED = {"leases"}
"""Tables of which the API needs to see nothing at all."""
GUARDED = sorted(metadata.tables.keys() - OF_NO_TENANT - CLOSED)
DENIED = "42501"


Rows = dict[str, dict[str, Row]]
"""By tenant and table."""


@pytest.fixture
def rows(installation: object) -> Rows:
    """A row in every table for each of two tenants."""
    return {name: fill(name) for name in ("a", "b")}


@pytest.fixture
def as_a(rows: Rows) -> Iterator[Session]:
    """What the API may do while it serves tenant a."""
    with wall.asking_for("a"), reading() as session:
        yield session


def guarded_with_tenant() -> Iterator[Table]:
    return (table for table in guarded() if "tenant_id" in table.columns)


def guarded() -> Iterator[Table]:
    return (metadata.tables[name] for name in GUARDED)


def key_of(table: Table, row: Row) -> tuple[Any, ...]:
    return tuple(row[column.name] for column in table.primary_key)


def is_row(table: Table, row: Row) -> ColumnElement[bool]:
    """The condition that finds a row."""
    return and_(*(column == row[column.name] for column in table.primary_key))


def written(table: Table) -> list[Column[Any]]:
    """The columns that are not computed from others."""
    return [column for column in table.columns if column.computed is None]


def seen(session: Session, table: Table) -> list[tuple[Any, ...]]:
    """The keys of all rows that are shown."""
    return [tuple(found) for found in session.execute(select(*table.primary_key))]


def is_denied(session: Session, statement: Executable) -> bool:
    """Whether a statement is refused, or touches no row."""
    try:
        return session.execute(statement).rowcount == 0  # type: ignore[attr-defined]
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != DENIED:
            raise
        return True


def test_a_tenant_sees_its_own_row_of_every_table_and_no_others(as_a: Session, rows: Rows) -> None:
    for table in guarded():
        own, other = (key_of(table, rows[tenant][table.name]) for tenant in ("a", "b"))

        assert own != other
        assert seen(as_a, table) == [own], table.name


def test_a_tenant_changes_and_deletes_no_row_of_another(as_a: Session, rows: Rows) -> None:
    for table in guarded():
        others = is_row(table, rows["b"][table.name])
        as_it_is = {column.name: column for column in written(table)}

        assert is_denied(as_a, update(table).where(others).values(as_it_is)), table.name
        assert is_denied(as_a, delete(table).where(others)), table.name


def test_a_tenant_adds_nothing_to_what_is_anothers(as_a: Session, rows: Rows) -> None:
    for table in guarded():
        # The policy is asked before the uniqueness of what is there already.
        row = {column.name: rows["b"][table.name][column.name] for column in written(table)}
        assert is_denied(as_a, insert(table).values(row)), table.name


def test_a_tenant_gives_nothing_of_its_own_to_another(as_a: Session, rows: Rows) -> None:
    for table in guarded_with_tenant():
        own = is_row(table, rows["a"][table.name])

        assert is_denied(as_a, update(table).where(own).values(tenant_id="b")), table.name


def test_before_it_is_known_who_asks_nothing_is_shown(rows: Rows) -> None:
    with wall.asking_for(wall.NOBODY), reading() as session:
        assert {table.name: seen(session, table) for table in guarded()} == {
            name: [] for name in GUARDED
        }


def test_what_the_api_does_not_need_it_may_not_touch(as_a: Session, rows: Rows) -> None:
    for name in CLOSED:
        table = metadata.tables[name]
        for statement in (select(table), delete(table), insert(table).values(rows["a"][name])):
            assert is_denied(as_a, statement), name


def test_the_owner_sees_the_rows_of_all(rows: Rows) -> None:
    with reading() as session:
        assert {len(seen(session, table)) for table in guarded()} == {2}


def test_every_table_has_a_rule_or_is_of_no_tenant(installation: object) -> None:
    with reading() as session:
        found = session.execute(
            text("SELECT relname FROM pg_class WHERE relrowsecurity AND relkind = 'r'")
        )
        assert set(found.scalars()) == set(GUARDED) | CLOSED


def test_a_tenant_that_is_not_signed_is_refused(as_a: Session) -> None:
    for claim in ("b", "b:", f"b:{'0' * 64}", ":", "x" * 200):
        assert is_refused(as_a, claim), claim


def is_refused(session: Session, claim: str) -> bool:
    names = {"claim": claim}
    session.execute(text("SELECT set_config('atelier.tenant', :claim, false)"), names)
    with pytest.raises(ProgrammingError, match="not signed"):
        session.execute(text("SELECT id FROM jobs"))
    return True


def test_a_signature_is_good_for_its_tenant_alone(as_a: Session) -> None:
    named, _, signature = str(wall.claim()).partition(":")
    assert named == "a"

    assert is_refused(as_a, f"b:{signature}")


OVER_THE_WALL = (
    "SELECT * FROM wall.keys",
    "SET ROLE atelier",
    "SET SESSION AUTHORIZATION atelier",
    "ALTER TABLE jobs DISABLE ROW LEVEL SECURITY",
    "DROP POLICY tenant ON jobs",
    "CREATE TABLE mine (id int)",
    "CREATE OR REPLACE FUNCTION wall.tenant() RETURNS text LANGUAGE sql RETURN 'b'",
    "UPDATE tenants SET max_queued = 1",
    "INSERT INTO paused_lanes (lane) VALUES ('text')",
    "UPDATE verdicts SET decision = 'approve'",
    "SET row_security = off; SELECT * FROM jobs",
)


def test_the_role_cannot_step_over_the_wall(as_a: Session) -> None:
    for statement in OVER_THE_WALL:
        with pytest.raises(ProgrammingError) as refused:
            as_a.connection().exec_driver_sql(statement)
        assert getattr(refused.value.orig, "sqlstate", None) == DENIED, statement


def test_a_reset_of_the_role_changes_nothing(as_a: Session) -> None:
    as_a.execute(text("RESET ROLE"))

    assert as_a.execute(text("SELECT current_user, session_user")).one() == (
        "atelier_api",
        "atelier_api",
    )
    assert as_a.execute(text("SELECT id FROM tenants")).scalars().all() == ["a"]


_WHO = text("SELECT pg_backend_pid(), ARRAY(SELECT id FROM tenants)")


def test_one_connection_serves_tenants_in_turn(rows: Rows) -> None:
    served = []
    for tenant in ("a", "b", "a", wall.NOBODY, "b"):
        with wall.asking_for(tenant), transaction() as session:
            served.append(session.execute(_WHO).one())

    assert [who for _, who in served] == [["a"], ["b"], ["a"], [], ["b"]]
    assert len({backend for backend, _ in served}) == 1


def test_a_rollback_does_not_take_the_tenant_back(rows: Rows) -> None:
    with wall.asking_for("a"):
        with transaction() as session:
            session.execute(_WHO)
            session.rollback()
        with transaction() as session:
            assert session.execute(_WHO).one()[1] == ["a"]


def test_keys_are_found_by_what_they_are_and_in_no_other_way(installation: object) -> None:
    with transaction() as session:
        tenant = tenants.add_tenant(session, "acme")
        key, secret = tenants.add_key(session, tenant.id, "test", [])

    with wall.asking_for(wall.NOBODY), reading() as session:
        assert session.execute(text("SELECT id FROM keys")).all() == []
        assert tenants.authenticate(session, secret).key_id == key.id
    with reading() as session:
        assert session.execute(text("SELECT last_used_at FROM keys")).scalar_one() is not None


def test_what_is_told_of_all_tenants_names_none(as_a: Session) -> None:
    flows = as_a.execute(text("SELECT * FROM wall.flows_of_all"))

    assert set(flows.keys()) == {"lane", "vtime", "queued"}
    assert len(flows.all()) == 2


def test_an_address_without_a_role_or_its_password_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for who in ("", "atelier_api@"):
        with monkeypatch.context() as changed:
            changed.setenv("ATELIER_API_DATABASE_URL", f"postgresql://{who}localhost/atelier")
            forget_settings()
            with pytest.raises(Permanent, match="must name a role and its password"):
                settings()
    forget_settings()
