"""Tenants and their API keys: making, checking and revoking them."""

import hashlib
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shared.errors import Conflict, NotFound, Unauthenticated
from shared.ids import new_id
from shared.services.pages import ALWAYS, Cursor, Page, Period, made_within, page
from shared.settings import settings
from shared.statement import Statement
from shared.states import Scope
from shared.tables.tenant import Key, Tenant

KEY_PREFIX = "atl_"
LIMITS = {
    "max_running": None,
    "max_queued": "tenant_max_queued",
    "max_bytes": None,
    "max_compute_seconds": None,
    "max_requests": "tenant_requests",
    "retention_days": "retention_days",
}
"""Columns of a tenant's limits, each with the setting that holds where it is absent, if any."""
_LAST_MOMENT = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_HINT_LENGTH = 12


@dataclass(frozen=True)
class Caller:
    """Who sent a request. The tenant comes from here and from nowhere else."""

    tenant_id: str
    key_id: str
    scopes: frozenset[Scope]
    max_requests: int | None = None
    """Most requests of its tenant in a minute; absent: as the settings say."""


def _caller(tenant_id: str, key_id: str, scopes: Sequence[str], max_requests: int | None) -> Caller:
    return Caller(tenant_id, key_id, frozenset(map(Scope, scopes)), max_requests)


# A function, because whose key it is must be known before row-level security shows it. It also
# notes the use of the key.
_CALLER = Statement(
    "SELECT tenant_id, id, scopes, max_requests FROM wall.caller_of(:hash)", _caller
)


def add_tenant(session: Session, name: str, weight: float = 1.0, **limits: float | None) -> Tenant:
    """A new tenant, with limits by the names of their columns. Raises Conflict when the name is
    taken.
    """
    tenant = Tenant(id=new_id("tenant"), name=name, weight=weight, **limits)
    session.add(tenant)
    try:
        session.flush()
    except IntegrityError:
        raise Conflict(f"There is a tenant {name!r} already.", param="name") from None
    return tenant


def change_tenant(session: Session, name: str, changes: Mapping[str, float | None]) -> Tenant:
    """Set some of a tenant's weight and limits. Raises NotFound."""
    tenant = tenant_named(session, name)
    for column, value in changes.items():
        setattr(tenant, column, value)
    return tenant


@dataclass(frozen=True)
class Limit:
    """One of a tenant's limits, as it holds."""

    name: str
    value: float | None
    """Absent: there is none."""
    is_own: bool
    """Not as the settings say for every tenant that has none of its own."""


def limits_of(tenant: Tenant) -> list[Limit]:
    """All limits of a tenant."""
    found = []
    for name, setting in LIMITS.items():
        own = getattr(tenant, name)
        general = getattr(settings(), setting) if setting is not None else None
        found.append(Limit(name, general if own is None else own, own is not None))
    return found


def tenant_named(session: Session, name: str) -> Tenant:
    """The tenant of this name. Raises NotFound."""
    found = session.scalar(select(Tenant).where(Tenant.name == name))
    if found is None:
        raise NotFound(f"No tenant {name!r}. Make it with: atelier tenant add {name}")
    return found


def add_key(
    session: Session,
    tenant_id: str,
    name: str,
    scopes: Sequence[Scope],
    expires_at: datetime | None = None,
    max_compute_seconds: int | None = None,
) -> tuple[Key, str]:
    """A new key: its row, and the key itself, which is shown this once and never stored."""
    secret = _new_secret()
    key = Key(
        id=new_id("key"),
        tenant_id=tenant_id,
        name=name,
        hash=_hash(secret),
        hint=secret[:_HINT_LENGTH],
        scopes=[str(scope) for scope in scopes],
        expires_at=expires_at,
        max_compute_seconds=max_compute_seconds,
    )
    session.add(key)
    session.flush()
    return key, secret


def authenticate(database: Session | Connection, secret: str) -> Caller:
    """Who owns a key. Raises Unauthenticated when it is unknown, mistyped, expired or revoked."""
    if not _well_formed(secret):
        raise Unauthenticated
    found = _CALLER.rows(database, {"hash": _hash(secret)})
    if not found:
        raise Unauthenticated("This API key is unknown, expired or revoked.")
    return found[0]


def revoke_key(session: Session, tenant_id: str, key_id: str) -> None:
    """Refuse a key from its next use on. Raises NotFound."""
    revoked = update(Key).where(
        Key.id == key_id, Key.tenant_id == tenant_id, Key.revoked_at.is_(None)
    )
    if session.execute(revoked.values(revoked_at=func.now())).rowcount == 0:  # type: ignore[attr-defined]
        raise NotFound(f"No key {key_id!r} that is in use.")


def rotate_key(
    session: Session, tenant_id: str, key_id: str, overlap: timedelta
) -> tuple[Key, str]:
    """A new key in the place of one, which ends when the overlap is over, or sooner if it would.

    The new one has its name, its scopes, as long to live as it had, and the same budget, of which
    is spent what was. Raises NotFound.
    """
    found = session.execute(
        select(Key, func.now())
        .where(Key.id == key_id, Key.tenant_id == tenant_id, Key.revoked_at.is_(None))
        .where((Key.expires_at > func.now()) | Key.expires_at.is_(None))
        .with_for_update()
    ).first()
    if found is None:
        raise NotFound(f"No key {key_id!r} that is in use.")
    old, now = found
    scopes = [Scope(scope) for scope in old.scopes]
    life = old.expires_at - old.created_at if old.expires_at is not None else None
    old.expires_at = min(old.expires_at or now + overlap, now + overlap)
    ends_at = now + min(life, _LAST_MOMENT - now) if life is not None else None
    new, secret = add_key(session, tenant_id, old.name, scopes, ends_at, old.max_compute_seconds)
    new.origin_id = old.origin_id or old.id
    session.flush()
    return new, secret


@dataclass(frozen=True)
class KeyFilter:
    """Which keys of a list are wanted."""

    in_use: bool | None = None
    """Neither revoked nor expired."""
    period: Period = ALWAYS


def list_keys(session: Session, tenant_id: str, cursor: Cursor, only: KeyFilter) -> Page[Key]:
    """A page of a tenant's keys."""
    chosen = made_within(select(Key).where(Key.tenant_id == tenant_id), Key, "key", only.period)
    if only.in_use is not None:
        is_good = Key.revoked_at.is_(None) & (Key.expires_at > func.now()).is_not(False)
        chosen = chosen.where(is_good if only.in_use else ~is_good)
    return page(session, chosen, Key.id, cursor)


def keys_of(session: Session, tenant_id: str) -> Sequence[Key]:
    """A tenant's keys, newest first."""
    return session.scalars(
        select(Key).where(Key.tenant_id == tenant_id).order_by(Key.id.desc())
    ).all()


def _new_secret() -> str:
    body = secrets.token_urlsafe(32)
    return f"{KEY_PREFIX}{body}{_checksum(body)}"


def _checksum(body: str) -> str:
    """Eight hex digits that tell a mistyped key from an unknown one without asking the database."""
    return f"{zlib.crc32(body.encode()):08x}"


def _well_formed(secret: str) -> bool:
    body, checksum = secret.removeprefix(KEY_PREFIX)[:-8], secret[-8:]
    return secret.startswith(KEY_PREFIX) and _checksum(body) == checksum


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
