"""The wall between tenants that Postgres keeps: for whom this thread asks, and how that is proven.

Services name the tenant in every statement. Should one forget to, the API's role still sees the
rows of the tenant that is named here and no others. Workers, the sweeper and operators connect as
the owner of the tables, whom the wall does not stop.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

from sqlalchemy.engine import make_url

from shared.settings import settings

OWNER = None
"""Asks as the owner of the tables."""
NOBODY = ""
"""Asks as the API's role and for no tenant: it sees no row of any."""
WHOEVER = "*"
"""Asks as the API's role, for whom its connection last asked: for looking up who somebody is by a
function, which shows no more either way, and saves a round trip.
"""

_tenant: ContextVar[str | None] = ContextVar("tenant", default=OWNER)


def ask_for(tenant_id: str | None) -> None:
    """Ask for a tenant in all that this thread does from now on."""
    _tenant.set(tenant_id)


@contextmanager
def asking_for(tenant_id: str | None) -> Iterator[None]:
    """Ask for a tenant in the block."""
    token = _tenant.set(tenant_id)
    try:
        yield
    finally:
        _tenant.reset(token)


def asked_for() -> str | None:
    """The tenant for which this thread asks, or OWNER, NOBODY or WHOEVER."""
    return _tenant.get()


def stands() -> bool:
    """Whether this thread asks as the API's role, and the API has a role of its own."""
    return _tenant.get() is not OWNER and settings().api_database_url is not None


def claim() -> str | None:
    """What a connection must tell the server before it asks; None: what it told last will do."""
    tenant_id = _tenant.get()
    if tenant_id is OWNER or tenant_id == WHOEVER:
        return None
    return _signed(tenant_id, key()) if tenant_id else NOBODY


def key() -> bytes:
    """What the API signs with and the server checks by: whoever can only have the API's statements
    changed cannot name another tenant.
    """
    return _key_of(settings().required("api_database_url"))


@cache
def _key_of(url: str) -> bytes:
    return hashlib.sha256(f"atelier tenant {make_url(url).password}".encode()).digest()


def _signed(tenant_id: str, secret: bytes) -> str:
    # As `wall.tenant()` computes it, of what Postgres has without an extension.
    inner = hashlib.sha256(secret + tenant_id.encode()).digest()
    return f"{tenant_id}:{hashlib.sha256(secret + inner).hexdigest()}"
