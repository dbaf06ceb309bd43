"""What must hold after every fault, looked at from the outside: SQL and the stored objects."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text

from shared.db import transaction
from shared.storage import Storage
from tests.chaos.site import Site
from tests.ledger import faults

ILLEGAL_CHANGE = "an item changed in a way that it must not"
ENDED_TWICE = "a lease ended an item twice"
OBJECT_MISSING = "an output's object is missing"
OBJECT_ANOTHER = "an output's object is another"
CHECKS = {ILLEGAL_CHANGE, ENDED_TWICE, OBJECT_MISSING, OBJECT_ANOTHER}
"""What is looked at here beside the ledger's invariants."""

_WATCH = """
    CREATE TABLE IF NOT EXISTS watched (
        id bigint GENERATED ALWAYS AS IDENTITY, item_id bigint, was text, became text,
        held_by uuid, at timestamptz DEFAULT clock_timestamp());
    -- As its owner: the API's role may not write to a table that it does not know.
    CREATE OR REPLACE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
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
        found[ILLEGAL_CHANGE] = sorted(seen - _LEGAL)
    if twice:
        found[ENDED_TWICE] = twice
    return found


def object_faults(place: Site | Storage) -> dict[str, list[str]]:
    """Outputs whose object is missing from the storage, or is not what the stand-in said."""
    with transaction() as session:
        rows = session.execute(text("SELECT key, sha256, seed FROM outputs")).all()
    stored = _in_bucket(place) if isinstance(place, Site) else _in_storage(place)
    found = defaultdict(list)
    for row in rows:
        said = f"seed {row.seed}".encode()
        if row.key not in stored:
            found[OBJECT_MISSING].append(row.key)
        elif (row.sha256, stored[row.key]) != (_sha256(said), _md5(said)):
            found[OBJECT_ANOTHER].append(row.key)
    return dict(found)


def _in_bucket(site: Site) -> dict[str, str]:
    """Every object with its MD5.

    What the stand-in says of a seed is known: the bucket's own list will do.
    """
    return {each.key: each.e_tag.strip('"') for each in site.bucket().objects.all()}


def _in_storage(storage: Storage) -> dict[str, str]:
    """Every object with its MD5."""
    found = {}
    for stored in storage.list(""):
        with storage.open(stored.key) as source:
            found[stored.key] = _md5(source.read())
    return found


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def all_faults(place: Site | Storage) -> dict[str, Any]:
    """Everything that must hold and does not."""
    with transaction() as session:
        found: dict[str, Any] = dict(faults(session))
    return found | object_faults(place)
