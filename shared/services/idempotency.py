"""Idempotency-Key: the same key and request get the same answer, whatever happened to the first
one.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, delete, func, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from shared.db import LOCK_TIMEOUT
from shared.errors import Invalid, KeyInFlight, KeyReused
from shared.tables.ledger import Idempotency

Answer = tuple[int, dict[str, Any]]

_MAX_LENGTH = 255
_RETRIES_LAST = timedelta(minutes=10)
_LOCK_NOT_AVAILABLE = "55P03"

# While it waits for a transaction that works under the same key, and no longer, the statement has
# a limit of its own; a round trip before it and one after it would do the same.
_CLAIM_KEY = text(f"""
    INSERT INTO idempotency (tenant_id, key, request_hash)
    SELECT :tenant, :key, :hash FROM set_config('lock_timeout', '1s', true)
    ON CONFLICT (tenant_id, key) DO NOTHING
    RETURNING set_config('lock_timeout', '{LOCK_TIMEOUT}', true)
""")
_HOLD = (
    select(Idempotency, Idempotency.created_at > func.now() - _RETRIES_LAST)
    .where(Idempotency.tenant_id == bindparam("tenant"), Idempotency.key == bindparam("key"))
    .with_for_update()
)
_LOCK_AGAIN = text("SET LOCAL lock_timeout TO DEFAULT")


def request_hash(method: str, path: str, body: Any) -> str:
    """What makes two requests the same: method, path and the body's JSON value."""
    canonical = json.dumps([method, path, body], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def once(
    session: Session, tenant_id: str, key: str | None, hash_: str, create: Callable[[], Answer]
) -> Answer:
    """Run `create` in this transaction, or give the answer that it gave before under this key.

    The key's row and what `create` makes commit together, so a key without an answer cannot exist.
    Raises KeyReused for another request under the key, and KeyInFlight while the first one is not
    over.
    """
    if key is None:
        return create()
    if not 0 < len(key) <= _MAX_LENGTH:
        raise Invalid(
            f"Idempotency-Key: must have 1 to {_MAX_LENGTH} characters", param="Idempotency-Key"
        )
    names = {"tenant": tenant_id, "key": key, "hash": hash_}
    if _claimed(session, names):
        answer = create()
        mine = (Idempotency.tenant_id == tenant_id) & (Idempotency.key == key)
        session.execute(update(Idempotency).where(mine).values(status=answer[0], answer=answer[1]))
        return answer
    return _replay(session, tenant_id, key, hash_)


def again(
    session: Session, tenant_id: str, key: str, create: Callable[[], Answer], *, is_retry: bool
) -> Answer:
    """For clients that send no key, but say which requests are retries: a retry within minutes gets
    the answer of the last equal request; any other request is a new one.

    Raises KeyInFlight while the one before is not over.
    """
    names = {"tenant": tenant_id, "key": key, "hash": ""}
    mine = (Idempotency.tenant_id == tenant_id) & (Idempotency.key == key)
    if not _claimed(session, names):
        with _briefly():
            held = session.execute(_HOLD, names)
        row, recent = held.one_or_none() or (None, False)
        session.execute(_LOCK_AGAIN)
        if row is not None and recent and is_retry:
            return int(row.status or 200), dict(row.answer or {})
    answer = create()
    told = {"status": answer[0], "answer": answer[1], "created_at": func.now()}
    session.execute(update(Idempotency).where(mine).values(told))
    return answer


def tells(session: Session, tenant_id: str, key: str, answer: dict[str, Any]) -> bool:
    """Whether this answer is what is kept under a key."""
    mine = (Idempotency.tenant_id == tenant_id) & (Idempotency.key == key)
    kept = select(Idempotency.key).where(mine, Idempotency.answer == answer)
    return session.scalar(kept) is not None


def forget(session: Session, tenant_id: str, key: str, answer: dict[str, Any]) -> None:
    """Let a key be used again: what was created under it, and answered so, has been undone."""
    mine = (Idempotency.tenant_id == tenant_id) & (Idempotency.key == key)
    session.execute(delete(Idempotency).where(mine, Idempotency.answer == answer))


def _claimed(session: Session, names: dict[str, str]) -> bool:
    """Insert the key; where it stands already, locks go on to be waited for but briefly. Raises
    KeyInFlight.
    """
    with _briefly():
        return session.execute(_CLAIM_KEY, names).first() is not None


@contextmanager
def _briefly() -> Iterator[None]:
    """Raises KeyInFlight for a transaction under the same key that was not over in time."""
    try:
        yield
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise KeyInFlight from None
        raise


def _replay(session: Session, tenant_id: str, key: str, hash_: str) -> Answer:
    row = session.scalars(
        select(Idempotency).where(Idempotency.tenant_id == tenant_id, Idempotency.key == key)
    ).one()
    if row.request_hash != hash_:
        raise KeyReused(param="Idempotency-Key")
    return int(row.status or 200), dict(row.answer or {})
