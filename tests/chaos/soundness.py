"""What must hold after every fault, looked at from the outside: SQL and the bucket's objects."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text

from shared.db import transaction
from tests.chaos.site import Site
from tests.ledger import faults

_WATCH = """
    CREATE TABLE IF NOT EXISTS watched (
        id bigint GENERATED ALWAYS AS IDENTITY, item_id bigint, was text, became text,
        held_by uuid, at timestamptz DEFAULT clock_timestamp());
    CREATE OR REPLACE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO watched (item_id, was, became, held_by)
        VALUES (NEW.id, OLD.state, NEW.state, OLD.lease_token);
        RETURN NULL;
    END $$;
    CREATE OR REPLACE TRIGGER watch AFTER UPDATE ON items
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION watch();
"""
_UNWATCH = "DROP TRIGGER IF EXISTS watch ON items; DROP TABLE IF EXISTS watched;"

_LEGAL = {
    ("queued", "running"),
    ("queued", "cancelled"),
    ("queued", "expired"),
    ("running", "queued"),
    ("running", "done"),
    ("running", "failed"),
    ("running", "cancelled"),
    ("failed", "queued"),
    ("cancelled", "queued"),
    ("expired", "queued"),
}
"""What may become of an item; nothing becomes of one that is done."""

_HELD_TWICE = """
    SELECT count(*) FROM (
        SELECT held_by, item_id FROM watched WHERE was = 'running'
        GROUP BY held_by, item_id HAVING count(*) > 1) again
"""


@contextmanager
def watching() -> Iterator[None]:
    """Write down every change of an item's state, behind the back of the code."""
    with transaction() as session:
        session.execute(text(_WATCH))
    try:
        yield
    finally:
        with transaction() as session:
            session.execute(text(_UNWATCH))


def changes() -> dict[str, Any]:
    """What of the watched changes must not be: illegal ones, and an item ended twice by a lease."""
    with transaction() as session:
        seen = {
            (row.was, row.became)
            for row in session.execute(text("SELECT DISTINCT was, became FROM watched"))
        }
        twice = session.execute(text(_HELD_TWICE)).scalar_one()
    found: dict[str, Any] = {}
    if seen - _LEGAL:
        found["an item changed in a way that it must not"] = sorted(seen - _LEGAL)
    if twice:
        found["a lease ended an item twice"] = twice
    return found


def object_faults(site: Site) -> dict[str, list[str]]:
    """Outputs whose object is missing from the bucket, or is not what the stand-in said.

    What it says of a seed is known: the bucket's own list, with the MD5 of every object, will do.
    """
    with transaction() as session:
        rows = session.execute(text("SELECT key, sha256, seed FROM outputs")).all()
    stored = {each.key: each.e_tag.strip('"') for each in site.bucket().objects.all()}
    found = defaultdict(list)
    for row in rows:
        said = f"seed {row.seed}".encode()
        if row.key not in stored:
            found["an output's object is missing"].append(row.key)
        elif (row.sha256, stored[row.key]) != (_sha256(said), _md5(said)):
            found["an output's object is another"].append(row.key)
    return dict(found)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def all_faults(site: Site) -> dict[str, Any]:
    """Everything that must hold and does not."""
    with transaction() as session:
        found: dict[str, Any] = dict(faults(session))
    return found | object_faults(site)
