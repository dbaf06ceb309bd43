"""Links to outputs: issued to who may see them, and believed until they expire."""

import hmac
import time
from datetime import timedelta

from shared.errors import NotFound
from shared.links import Links, signature
from shared.settings import settings

LIFE = timedelta(hours=24)
"""How long the links of an answer hold."""


def issue(base_url: str, tenant_id: str, life: timedelta = LIFE) -> Links:
    """What makes links to a tenant's outputs."""
    expires_at = int(time.time() + life.total_seconds())
    return Links(base_url, tenant_id, expires_at, _key(tenant_id, expires_at))


def tenant_of(output_id: str, link: str) -> str:
    """Whose output a link leads to. Raises NotFound when it was not issued for it, or is too old.

    Whoever was given a link needs nothing else, so nothing is told of an output before it holds.
    """
    tenant_id, _, rest = link.partition(".")
    told, _, signed = rest.partition(".")
    expires_at = int(told) if told.isascii() and told.isdigit() else 0
    expected = signature(_key(tenant_id, expires_at), output_id)
    if not hmac.compare_digest(signed.encode(), expected.encode()) or expires_at < time.time():
        raise NotFound("This link is of no output, or has expired; ask for the output with a key.")
    return tenant_id


def _key(tenant_id: str, expires_at: int) -> str:
    secret = settings().required("secret_key")
    return signature(secret, f"outputs of {tenant_id} until {expires_at}")
