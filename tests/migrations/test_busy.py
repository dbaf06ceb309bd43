"""Upgrades of a busy installation: they hold nobody up, and one that broke off is run again."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from migrations import commands, indexes
from migrations.commands import downgrade, upgrade
from shared.errors import Retryable
from tests.migrations.shapes import definitions, files, tables_of
from tests.migrations.test_migrations import REVISIONS, differences
from tests.statements import caught
from tests.waiting import until

BEFORE_BUILDS = "0012"
"""The next migration begins with building indexes of jobs."""

_HELD = text("""
    SELECT relation::regclass::text, mode FROM pg_locks
    WHERE pid = :pid AND relation IS NOT NULL AND granted
        AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
""")
_BUILDING = text("""
    SELECT pid FROM pg_stat_activity WHERE datname = current_database()
        AND query LIKE '%CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'
""")
_READ = text("LOCK TABLE jobs IN ACCESS SHARE MODE")
_INVALID = text("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
_ACCEPT = text("""
    INSERT INTO jobs (id, tenant_id, kind, state, lane, total, done, failed, queued)
    VALUES (:id, 'acme', 'generation', 'queued', 'text', 1, 0, 0, 1)
""")


def busy(database: Engine) -> Connection:
    """A transaction that has written to jobs, and does not end."""
    connection = database.connect()
    connection.execute(text("INSERT INTO tenants (id, name) VALUES ('acme', 'acme')"))
    connection.commit()
    connection.execute(_ACCEPT, {"id": "first"})
    return connection


def backend(connection: Connection) -> int:
    return int(connection.connection.driver_connection.info.backend_pid)  # type: ignore[union-attr]


def building(database: Engine) -> int | None:
    """Who builds an index and waits for others meanwhile."""
    with database.connect() as connection:
        return connection.execute(_BUILDING).scalar_one_or_none()


@pytest.mark.parametrize("revision", REVISIONS[-2::-1])
def test_no_migration_writes_a_table_anew_or_builds_an_index_that_stops_writers(
    empty: Engine, revision: str
) -> None:
    before = f"{int(revision) - 1:04}"
    upgrade(before)
    tables, lie_in = tables_of(empty), files(empty)

    with caught() as statements:
        upgrade(revision)
        assert lie_in.items() <= files(empty).items()
        downgrade(before)

    builds = [" ".join(statement.split()) for statement, _ in statements if " INDEX " in statement]
    for build in builds:
        if build.startswith("CREATE") and "CONCURRENTLY" not in build:
            assert not any(f" ON {table} " in build for table in tables), build


def test_what_may_take_long_is_done_without_a_lock_on_a_table(empty: Engine) -> None:
    held: dict[str, Any] = {}

    def look(connection: Connection, _: Any, statement: str, *__: Any) -> None:
        words = statement.split()
        if "alembic_version" in words:
            return
        if words[0] in ("INSERT", "UPDATE", "WITH") or "CONCURRENTLY" in words:
            with empty.connect() as other:
                found = other.execute(_HELD, {"pid": backend(connection)}).all()
            held[" ".join(words)] = found

    upgrade(REVISIONS[-1])
    with listening(look):
        upgrade()

    assert {statement: found for statement, found in held.items() if found} == {}
    assert len([statement for statement in held if "CREATE INDEX CONCURRENTLY" in statement]) > 10
    assert any("UPDATE outputs SET label" in statement for statement in held)


@contextmanager
def listening(look: Any) -> Iterator[None]:
    event.listen(Engine, "before_cursor_execute", look)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", look)


def test_while_an_index_is_being_built_others_read_and_write(empty: Engine) -> None:
    upgrade(BEFORE_BUILDS)
    with ThreadPoolExecutor() as threads, busy(empty) as old:
        upgrading = threads.submit(upgrade)
        pid = until(lambda: building(empty), within_s=30)
        with empty.begin() as other:
            assert other.execute(_HELD, {"pid": pid}).all() == []
            other.execute(text("SET LOCAL lock_timeout = '1s'"))
            other.execute(_ACCEPT, {"id": "second"})
            assert other.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 1
        old.commit()
        upgrading.result()

    assert differences(empty) == []


def test_a_build_that_gave_up_is_begun_again_by_the_next_upgrade(
    empty: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(BEFORE_BUILDS)
    with busy(empty), monkeypatch.context() as changed:
        changed.setattr(indexes, "PATIENCE", "50ms")
        changed.setattr(commands, "PATIENCE_S", 0)
        with pytest.raises(Retryable, match="Run the upgrade again"):
            upgrade()
    with empty.connect() as connection:
        assert connection.execute(_INVALID).scalars().all() == ["jobs_by_state"]

    upgrade()

    with empty.connect() as connection:
        assert connection.execute(_INVALID).scalars().all() == []
    assert differences(empty) == []


def test_a_table_that_stays_busy_is_left_to_the_others_and_asked_for_again(empty: Engine) -> None:
    asked: list[str] = []

    def look(_: Any, __: Any, statement: str, *___: Any) -> None:
        asked.extend([statement] * ("ALTER TABLE jobs" in statement))

    upgrade(REVISIONS[-1])
    with ThreadPoolExecutor() as threads, empty.begin() as reading, listening(look):
        reading.execute(_READ)
        upgrading = threads.submit(upgrade, "0002")
        until(lambda: len(asked) == 2, within_s=30)
        reading.rollback()
        upgrading.result()

    upgrade()
    assert differences(empty) == []


def test_an_upgrade_gives_up_where_a_table_stays_busy_for_too_long(
    empty: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(REVISIONS[-1])
    with empty.begin() as reading, monkeypatch.context() as changed:
        reading.execute(_READ)
        changed.setattr(commands, "PATIENCE_S", 0)
        with pytest.raises(Retryable, match="at revision 0001"):
            upgrade()

    upgrade()
    assert differences(empty) == []


class Broken(Exception):
    """The installer's end."""


@contextmanager
def breaking_off(before: int | None) -> Iterator[list[bool]]:
    """Let an upgrade break off before that change; gives which were committed one by one."""
    changes: list[bool] = []

    def look(connection: Connection, _: Any, statement: str, *__: Any) -> None:
        if statement.split()[0] in ("SELECT", "SHOW", "SET"):
            return
        if len(changes) == before:
            raise Broken
        changes.append(connection.connection.driver_connection.autocommit)  # type: ignore[union-attr]

    with listening(look):
        yield changes


@pytest.mark.parametrize("revision", REVISIONS[-2::-1])
def test_a_migration_that_broke_off_anywhere_is_run_again(empty: Engine, revision: str) -> None:
    before = f"{int(revision) - 1:04}"
    upgrade(before)
    with breaking_off(None) as committed:
        upgrade(revision)
    whole = definitions(empty)

    for point in range(1, len(committed)):
        # Where nothing was committed since the change before, all is as it was then.
        if committed[point] or committed[point - 1]:
            downgrade(before)
            with breaking_off(point), pytest.raises(Broken):
                upgrade(revision)
            upgrade(revision)
            assert definitions(empty) == whole
