"""The label of outputs: in every row, whenever and by whichever release it was written."""

import json
from typing import Any

import pytest
from sqlalchemy import Engine, text

from migrations import labels
from migrations.commands import downgrade, upgrade
from tests.migrations.shapes import definitions, files

BEFORE, COMPUTED = "0015", "0019"
"""Before there was such a column; the last at which a database may compute it."""

FACTS: dict[str, tuple[Any, str | None]] = {
    "a label": ({"label": "7"}, "7"),
    "an empty one": ({"label": ""}, ""),
    "the longest": ({"label": "x" * 200}, "x" * 200),
    "too long": ({"label": "x" * 201}, None),
    "a mix": ({"label": {"7": 0.5, "8": 0.5}}, None),
    "a number": ({"label": 7}, None),
    "none": ({"finish_reason": "stop"}, None),
}
"""The facts of outputs by id, and their label."""

# What the column was while the database computed it.
_COMPUTED = """
    DROP TRIGGER label ON outputs;
    DROP FUNCTION label_output();
    ALTER TABLE outputs DROP COLUMN label;
    ALTER TABLE outputs ADD COLUMN label varchar GENERATED ALWAYS AS (
        CASE WHEN jsonb_typeof(facts -> 'label') = 'string' AND length(facts ->> 'label') <= 200
            THEN facts ->> 'label' END) STORED;
    CREATE INDEX outputs_by_label ON outputs (tenant_id, label, id) WHERE label IS NOT NULL;
"""
_OWNER = """
    INSERT INTO tenants (id, name) VALUES ('acme', 'acme');
    INSERT INTO jobs (id, tenant_id, kind, state, lane, total, done, failed, queued)
    VALUES ('job', 'acme', 'generation', 'succeeded', 'text', 1, 1, 0, 0);
"""
# As the release before writes it.
_WRITE = text("""
    INSERT INTO outputs (id, tenant_id, job_id, item_id, index, media_type, key, bytes, sha256,
        seed, facts, provenance)
    VALUES (:id, 'acme', 'job', :item, 0, '', '', 1, '', 1, :facts, '{}')
""")


EXPECTED = {name: label for name, (_, label) in FACTS.items()}


def write(database: Engine) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql(_OWNER)
        for item, (name, (facts, _)) in enumerate(FACTS.items()):
            connection.execute(_WRITE, {"id": name, "item": item, "facts": json.dumps(facts)})


def found(database: Engine) -> dict[str, str | None]:
    with database.connect() as connection:
        return {row.id: row.label for row in connection.execute(text("SELECT * FROM outputs"))}


def test_it_is_filled_where_outputs_are_already(
    empty: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "BATCH", 2)
    upgrade(BEFORE)
    write(empty)

    upgrade()

    assert found(empty) == EXPECTED


def test_it_is_filled_in_what_the_release_before_writes(empty: Engine) -> None:
    upgrade()

    write(empty)

    assert found(empty) == EXPECTED


def test_it_follows_facts_that_are_changed(empty: Engine) -> None:
    upgrade()
    write(empty)

    with empty.begin() as connection:
        connection.exec_driver_sql("""UPDATE outputs SET facts = '{"label": "8"}'""")
    assert set(found(empty).values()) == {"8"}

    with empty.begin() as connection:
        connection.exec_driver_sql("UPDATE outputs SET facts = '{}'")
    assert set(found(empty).values()) == {None}


def test_a_database_that_computed_it_comes_to_the_same(empty: Engine) -> None:
    upgrade()
    plain = definitions(empty)
    downgrade(COMPUTED)
    with empty.begin() as connection:
        connection.exec_driver_sql(_COMPUTED)
    write(empty)
    assert definitions(empty) != plain
    lie_in = files(empty)

    upgrade()

    assert definitions(empty) == plain
    assert files(empty) == lie_in
    assert found(empty) == EXPECTED
    with empty.begin() as connection:
        connection.exec_driver_sql("DELETE FROM outputs; DELETE FROM tenants")
    write(empty)
    assert found(empty) == EXPECTED
