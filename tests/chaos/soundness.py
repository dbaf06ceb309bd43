"""What must hold after every fault, looked at from the outside: SQL and the bucket's objects."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text

from shared.db import transaction
from tests.chaos.site import Site
from tests.ledger import faults

_WATCH = """
    CREATE TABLE IF NOT EXISTS watched (
        id bigint GENERATED ALWAYS AS IDENTITY, item_id bigint, was text, became text,
        held_by uuid, had_lease bool);
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
    """Outputs whose object is missing from the bucket, or is not what its row says."""
    with transaction() as session:
        rows = session.execute(text("SELECT key, sha256 FROM outputs")).all()
    bucket = site.bucket()
    there = {each.key for each in bucket.objects.all()}
    missing = [row.key for row in rows if row.key not in there]

    def is_wrong(row: Any) -> bool:
        content = bucket.Object(row.key).get()["Body"].read()
        return hashlib.sha256(content).hexdigest() != row.sha256

    with ThreadPoolExecutor(8) as pool:
        present = [row for row in rows if row.key in there]
        judged = zip(present, pool.map(is_wrong, present), strict=True)
        wrong = [row.key for row, bad in judged if bad]
    told = {"an output's object is missing": missing, "an output's object is another": wrong}
    return {what: keys for what, keys in told.items() if keys}


def all_faults(site: Site) -> dict[str, Any]:
    """Everything that must hold and does not."""
    with transaction() as session:
        found: dict[str, Any] = dict(faults(session))
    return found | object_faults(site)
