"""How often a key or an address may ask: counted by the minute in Redis, for all processes alike.

A request costs one round trip. While Redis is away requests pass uncounted, and none waits for it
but one every few seconds that asks again.
"""

import logging
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from math import ceil
from time import monotonic
from time import time as now

from flask import Flask, Response, current_app, g, request
from limits.storage import RedisStorage
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.errors import RateLimited
from shared.settings import settings

log = logging.getLogger(__name__)

_MINUTE_S = 60
_TIMEOUT_S = 0.1
"""How long the one request waits that finds Redis away."""
_PAUSE_S = 5.0
"""How long the others pass uncounted before one asks again."""
_EXTENSION = "atelier-rates"


@dataclass(frozen=True)
class Standing:
    """Where somebody stands in this minute."""

    most: int
    count: int
    reset_s: int

    @property
    def remaining(self) -> int:
        return max(0, self.most - self.count)

    def check(self, who: str) -> None:
        """Raises RateLimited when it was once too often."""
        if self.count > self.most:
            raise RateLimited(
                f"{who} has sent {self.most} requests in this minute, which is as many as it may. "
                f"Send the next in {self.reset_s} s.",
                retry_after_s=self.reset_s,
            )


class Rates:
    """Counts in Redis, for as long as Redis answers at once."""

    def __init__(self, redis_url: str):
        self._storage = RedisStorage(
            redis_url,
            key_prefix="atelier:rates",
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            # A connection that Redis closed meanwhile is made anew; one that hangs is given up.
            retry=Retry(NoBackoff(), 1, supported_errors=(NoConnection,)),  # type: ignore[arg-type]
        )
        self._away = False
        self._ask_again_at = 0.0

    def count(self, who: str, most: int) -> Standing | None:
        """Count one request more of somebody who may send `most` a minute; None without Redis."""
        if not self._may_ask():
            return None
        minute, elapsed_s = divmod(now(), _MINUTE_S)
        try:
            count = self._storage.incr(f"{who}:{minute:.0f}", _MINUTE_S)
        except RedisError as error:
            log.warning("requests pass uncounted, because Redis does not answer: %s", error)
            self._away, self._ask_again_at = True, monotonic() + _PAUSE_S
            return None
        self._away = False
        return Standing(most, count, ceil(_MINUTE_S - elapsed_s))

    def _may_ask(self) -> bool:
        if not self._away:
            return True
        if monotonic() < self._ask_again_at:
            return False
        self._ask_again_at = monotonic() + _PAUSE_S  # this request tries, and nobody beside it
        return True


def add_to(app: Flask) -> None:
    """Have the application count, and say in its answers how many requests are left."""
    app.extensions[_EXTENSION] = Rates(settings().required("redis_url"))
    app.after_request(_say)


def count_key(key_id: str) -> None:
    """Count this request for its key. Raises RateLimited."""
    standing = _rates().count(key_id, settings().key_requests)
    if standing is not None:
        g.standing = standing
        standing.check("This key")


def count_address() -> None:
    """Count this request, which came without a good key, for its address. Raises RateLimited."""
    standing = _rates().count(sender(), settings().address_requests)
    if standing is not None:
        standing.check("This address, without a good key,")


def sender() -> str:
    """Whose address a request came from: with IPv6 the network, of which one host has all."""
    address = request.remote_addr or "unknown"
    try:
        parsed = ip_address(address)
    except ValueError:
        return address  # a socket of this machine
    if not isinstance(parsed, IPv6Address):
        return address
    return str(IPv6Address(int(parsed) >> 64 << 64))


def _rates() -> Rates:
    return current_app.extensions[_EXTENSION]


def _say(response: Response) -> Response:
    standing: Standing | None = g.get("standing")
    if standing is not None:
        response.headers["x-ratelimit-limit-requests"] = str(standing.most)
        response.headers["x-ratelimit-remaining-requests"] = str(standing.remaining)
        response.headers["x-ratelimit-reset-requests"] = f"{standing.reset_s}s"
    return response
