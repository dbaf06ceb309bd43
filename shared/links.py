"""Links: addresses at which outputs are fetched without a key, each for one output and for a time.

The API alone holds the secret. For a tenant and a time it derives a key from it (api/links.py), by
which a worker too can sign the links of that tenant, and of no other.
"""

import hashlib
import hmac
from dataclasses import asdict, dataclass
from typing import Any

PARAM = "links"
"""Of a job: under which it keeps what makes its links. It is shown to nobody."""


@dataclass(frozen=True)
class Links:
    """Makes links to a tenant's outputs that hold until a moment."""

    base_url: str
    """Where clients find this installation."""
    tenant_id: str
    expires_at: int
    """Seconds since 1970."""
    key: str

    def to(self, output_id: str) -> str:
        """The address of an output, for whoever has it."""
        link = f"{self.tenant_id}.{self.expires_at}.{signature(self.key, output_id)}"
        return f"{self.base_url}/api/v1/outputs/{output_id}/content/{link}"

    def as_json(self) -> dict[str, Any]:
        """What makes the same links elsewhere, as `Links(**…)`."""
        return asdict(self)


def signature(key: str, signed: str) -> str:
    """What only who has the key can say of a text: 64 hexadecimal digits."""
    return hmac.new(key.encode(), signed.encode(), hashlib.sha256).hexdigest()
