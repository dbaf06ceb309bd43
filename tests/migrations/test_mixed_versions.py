"""Two releases side by side: the one before works with the tables of the one after."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine, text

from migrations.commands import upgrade
from tests.migrations.shapes import rules, shapes, uniques
from tests.migrations.test_migrations import REVISIONS

CONTRACTS: set[str] = set()
"""Revisions that remove what the release before last still used; each needs its reason here."""

MAY_BE_EMPTY = {
    ("verdicts", "user_id"),  # a key's; the release before names a person in all that it writes
}
"""Columns that held something in every row once; whoever read them then copes without."""


@pytest.mark.parametrize("revision", sorted(set(REVISIONS[:-1]) - CONTRACTS))
def test_the_release_before_can_work_with_the_tables_after(empty: Engine, revision: str) -> None:
    upgrade(f"{int(revision) - 1:04}")
    before, before_uniques, before_rules = shapes(empty), uniques(empty), rules(empty)
    upgrade(revision)
    after, after_uniques, after_rules = shapes(empty), uniques(empty), rules(empty)

    for table, column in MAY_BE_EMPTY:
        relaxed = replace(before[table][column], may_be_left_out=True)
        if after[table][column] == relaxed:
            before[table][column] = relaxed
    for name, columns in before.items():
        assert columns.items() <= after[name].items(), f"{name} lost or changed a column"
        for added in set(after[name]) - set(columns):
            assert after[name][added].may_be_left_out, f"{name}.{added} must be given"
        assert after_uniques[name] <= before_uniques[name], f"{name} refuses what it took"
    assert after_rules.refuse(before_rules, before) == set(), "what it does would be refused"


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE jobs ADD CONSTRAINT few CHECK (total < 100)",
        "ALTER TABLE outputs ADD FOREIGN KEY (item_id) REFERENCES items",
        "ALTER TABLE jobs FORCE ROW LEVEL SECURITY",
        "ALTER TABLE paused_lanes ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY lesser ON jobs AS RESTRICTIVE USING (priority < 5)",
        "DROP VIEW wall.deliveries_of_all",
    ],
)
def test_a_rule_that_would_refuse_it_would_be_noticed(empty: Engine, change: str) -> None:
    upgrade()
    before, columns = rules(empty), shapes(empty)
    with empty.begin() as connection:
        connection.execute(text(change))

    assert rules(empty).refuse(before, columns)


def test_a_rule_about_a_new_column_or_table_refuses_nothing(empty: Engine) -> None:
    upgrade()
    before, columns = rules(empty), shapes(empty)
    with empty.begin() as connection:
        for change in (
            "ALTER TABLE jobs ADD COLUMN shade int CHECK (shade > 3)",
            "ALTER TABLE jobs ADD COLUMN parent varchar REFERENCES jobs",
            "CREATE TABLE shades (id int PRIMARY KEY, job_id varchar REFERENCES jobs)",
            "ALTER TABLE shades ENABLE ROW LEVEL SECURITY",
        ):
            connection.execute(text(change))

    assert rules(empty).refuse(before, columns) == set()
