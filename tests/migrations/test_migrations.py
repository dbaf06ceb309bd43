"""Migrations: they make exactly the tables of the code, and go back and forth with rows in them."""

import datetime
import sys
from subprocess import PIPE, Popen
from typing import Any
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Engine, insert, text

from migrations.commands import config, downgrade, upgrade
from migrations.lock import alone
from shared.errors import Permanent
from shared.tables.metadata import metadata
from tests.migrations.shapes import tables_of

REVISIONS = [script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()]
"""Newest first."""

VALUES: dict[type, Any] = {
    str: "x",
    int: 1,
    float: 1.0,
    bool: True,
    bytes: b"x",
    object: {},
    dict: {},
    list: [],
    datetime.date: datetime.datetime.now(datetime.UTC).date(),
    datetime.datetime: datetime.datetime.now(datetime.UTC),
}


def differences(database: Engine) -> list[Any]:
    with database.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return compare_metadata(context, metadata)


def fill(database: Engine) -> None:
    """One row in every table, with something in every column that needs it."""
    with database.begin() as connection:
        for table in metadata.sorted_tables:
            row = {column.name: _value(column) for column in table.columns if _is_needed(column)}
            connection.execute(insert(table).values(row))


def _is_needed(column: Column[Any]) -> bool:
    return not column.nullable and column.server_default is None and column.identity is None


def _value(column: Column[Any]) -> Any:
    if column.type.python_type.__name__ == "UUID":
        return uuid4()
    return VALUES[column.type.python_type]


def counts(database: Engine) -> dict[str, int]:
    with database.connect() as connection:
        return {
            name: connection.execute(text(f'SELECT count(*) FROM "{name}"')).scalar_one()
            for name in sorted(tables_of(database))
        }


def test_from_nothing_to_head_makes_the_tables_of_the_code(empty: Engine) -> None:
    assert tables_of(empty) == set()

    upgrade()

    assert differences(empty) == []
    assert tables_of(empty) == set(metadata.tables)


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(empty: Engine) -> None:
    upgrade()
    fill(empty)
    before = counts(empty)

    upgrade()

    assert counts(empty) == before
    assert differences(empty) == []


def test_every_migration_goes_back_and_forth_on_a_filled_database(empty: Engine) -> None:
    upgrade()
    fill(empty)
    assert set(counts(empty).values()) == {1}

    for revision in REVISIONS:
        downgrade(f"{revision}-1" if revision != REVISIONS[-1] else "base")
        upgrade(revision)
        downgrade(f"{revision}-1" if revision != REVISIONS[-1] else "base")
    assert tables_of(empty) == set()

    upgrade()
    assert differences(empty) == []
    fill(empty)


def test_revisions_form_one_line_and_are_named_by_number(empty: Engine) -> None:
    scripts = ScriptDirectory.from_config(config())

    assert len(scripts.get_heads()) == 1
    assert [f"{number:04}" for number in range(1, len(REVISIONS) + 1)] == REVISIONS[::-1]


def test_a_missing_column_would_be_noticed(empty: Engine) -> None:
    upgrade()
    with empty.begin() as connection:
        connection.execute(text("ALTER TABLE jobs DROP COLUMN warnings"))

    (difference,) = differences(empty)

    assert difference[0] == "add_column"


def test_a_database_of_a_newer_release_is_refused_with_a_remedy(empty: Engine) -> None:
    upgrade()
    with empty.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(Permanent, match="newer Atelier"):
        upgrade()


_BEFORE_USAGE = """
    INSERT INTO tenants (id, name) VALUES ('acme', 'acme');
    INSERT INTO jobs (id, tenant_id, kind, state, lane, family, model, model_version_id, total,
        done, failed, queued, compute_seconds, finished_at)
    VALUES
        ('ended', 'acme', 'generation', 'partial', 'text', 'f', 'm@1', 'v', 2, 1, 1, 0, 2.5,
            '2026-03-01 23:59+00'),
        ('open', 'acme', 'generation', 'queued', 'text', 'f', 'm', 'v', 1, 0, 0, 1, 0, NULL);
    INSERT INTO items (job_id, seq, state, params, flow_id, batch_key, cost)
    VALUES ('ended', 0, 'done', '{}', 1, 'v:', 3), ('ended', 1, 'failed', '{}', 1, 'v:', 3),
        ('open', 0, 'queued', '{}', 1, 'v:', 4);
    INSERT INTO outputs (id, tenant_id, job_id, item_id, index, media_type, key, bytes, sha256,
        seed, facts, provenance)
    VALUES ('a', 'acme', 'ended', 1, 0, '', '', 10, '', 1,
            '{"prompt_tokens": 5, "completion_tokens": 7}', '{}'),
        ('b', 'acme', 'ended', 1, 1, '', '', 10, '', 1,
            '{"prompt_tokens": 5, "completion_tokens": 7}', '{}')
"""


def test_usage_tells_of_the_jobs_that_were_there_before_it(empty: Engine) -> None:
    scripts = ScriptDirectory.from_config(config()).walk_revisions()
    (before,) = [script.down_revision for script in scripts if "add usage" in script.doc]
    upgrade(before)
    with empty.begin() as connection:
        connection.exec_driver_sql(_BEFORE_USAGE)

    upgrade()

    with empty.connect() as connection:
        (row,) = connection.execute(text("SELECT * FROM usage")).all()
        costs = connection.execute(text("SELECT cost FROM jobs ORDER BY id")).scalars().all()
    assert (row.day, row.model) == (datetime.date(2026, 3, 1), "m")
    assert (row.compute_seconds, row.cost, row.items_done, row.items_failed) == (2.5, 3, 1, 1)
    assert (row.outputs, row.bytes, row.input_tokens, row.output_tokens) == (2, 20, 5, 14)
    assert costs == [0, 4]


INSTALL = [sys.executable, "-c", "from migrations.commands import upgrade; upgrade()"]


def test_installers_at_once_wait_for_one_another_and_in_no_build_s_way(empty: Engine) -> None:
    upgrade(REVISIONS[-1])
    with alone():
        installers = [Popen(INSTALL, stderr=PIPE, text=True) for _ in range(2)]
        for waiting in installers:
            assert "another installer is at work" in waiting.stderr.readline()
        with empty.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("CREATE INDEX CONCURRENTLY tried ON jobs (created_at)"))
            connection.execute(text("DROP INDEX CONCURRENTLY tried"))

    for installer in installers:
        _, told = installer.communicate(timeout=60)
        assert installer.returncode == 0, told
    assert differences(empty) == []
