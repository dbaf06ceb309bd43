"""The label of outputs: a trigger copies it out of their facts, whichever release writes them.

A column that the database computes would have its whole table written anew when it is added. Behind
row-level security no index on an expression over `facts` would be used.
"""

import sqlalchemy as sa
from alembic import op

_LABEL = """
    CASE WHEN jsonb_typeof({facts} -> 'label') = 'string' AND length({facts} ->> 'label') <= 200
        THEN {facts} ->> 'label' END
"""
_OF_NEW = _LABEL.format(facts="NEW.facts")
_FUNCTION = f"""
    CREATE OR REPLACE FUNCTION label_output() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.label := {_OF_NEW};
        RETURN NEW;
    END $$
"""
_TRIGGER = f"""
    CREATE OR REPLACE TRIGGER label BEFORE INSERT OR UPDATE OF facts ON outputs
    FOR EACH ROW WHEN (NEW.label IS DISTINCT FROM {_OF_NEW}) EXECUTE FUNCTION label_output()
"""

BATCH = 2000
"""Few enough that whoever reviews one of these outputs hardly waits."""

_FILL = sa.text(f"""
    WITH batch AS (
        SELECT id, {_LABEL.format(facts="facts")} AS label FROM outputs
        WHERE id > :after ORDER BY id LIMIT :count
    ), filled AS (
        UPDATE outputs SET label = batch.label FROM batch
        WHERE outputs.id = batch.id AND outputs.label IS DISTINCT FROM batch.label
    )
    SELECT max(id) FROM batch
""")


def keep() -> None:
    """Fill the column from now on."""
    op.execute(_FUNCTION)
    op.execute(_TRIGGER)


def fill() -> None:
    """Fill it where rows are already, batch by batch. Begun again, it passes over the filled."""
    with op.get_context().autocommit_block():
        after: str | None = ""
        while after is not None:
            names = {"after": after, "count": BATCH}
            after = op.get_bind().execute(_FILL, names).scalar_one()


def forget() -> None:
    """Fill it no more."""
    op.execute("DROP TRIGGER label ON outputs")
    op.execute("DROP FUNCTION label_output()")
