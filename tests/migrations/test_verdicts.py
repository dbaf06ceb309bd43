"""The tenant of verdicts: in every row, whenever and by whichever release it was written."""

from sqlalchemy import Engine, text

from migrations.commands import downgrade, upgrade

BEFORE = "0021"

_OUTPUT = """
    INSERT INTO tenants (id, name) VALUES ('acme', 'acme'), ('other', 'other');
    INSERT INTO users (id, tenant_id, email, password, role, fs_uniquifier)
    VALUES ('rita', 'acme', 'rita', '', 'reviewer', 'rita');
    INSERT INTO jobs (id, tenant_id, kind, state, lane, total, done, failed, queued)
    VALUES ('job', 'acme', 'generation', 'succeeded', 'text', 1, 1, 0, 0);
    INSERT INTO outputs (id, tenant_id, job_id, item_id, index, media_type, key, bytes, sha256,
        seed, facts, provenance)
    VALUES ('output', 'acme', 'job', 1, 0, '', '', 1, '', 1, '{}', '{}');
"""
# As the release before writes it.
_VERDICT = """
    INSERT INTO verdicts (id, output_id, user_id, decision)
    VALUES ('{}', 'output', 'rita', 'reject')
"""


def execute(database: Engine, statement: str) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql(statement)


def tenants(database: Engine) -> dict[str, str]:
    with database.connect() as connection:
        return {row.id: row.tenant_id for row in connection.execute(text("SELECT * FROM verdicts"))}


def test_it_is_filled_in_what_was_there_and_in_what_the_release_before_writes(
    empty: Engine,
) -> None:
    upgrade(BEFORE)
    execute(empty, _OUTPUT + _VERDICT.format("old"))

    upgrade()
    execute(empty, _VERDICT.format("new"))

    assert tenants(empty) == {"old": "acme", "new": "acme"}


def test_no_verdict_can_be_written_as_anothers(empty: Engine) -> None:
    upgrade()
    execute(empty, _OUTPUT)

    execute(
        empty,
        "INSERT INTO verdicts (id, output_id, tenant_id, key_id, decision) "
        "VALUES ('a', 'output', 'other', 'key', 'reject')",
    )

    assert tenants(empty) == {"a": "acme"}


def test_the_release_before_keeps_what_people_decided(empty: Engine) -> None:
    upgrade()
    execute(empty, _OUTPUT + _VERDICT.format("by a person"))
    execute(
        empty,
        "INSERT INTO verdicts (id, output_id, key_id, decision) "
        "VALUES ('by a key', 'output', 'key', 'reject')",
    )

    downgrade(BEFORE)

    with empty.connect() as connection:
        assert connection.execute(text("SELECT id FROM verdicts")).scalars().all() == [
            "by a person"
        ]
