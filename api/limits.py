"""How often a key, a tenant or an address may ask: counted by the minute in Redis, for all
processes alike.

A request costs one round trip. While Redis is away requests pass uncounted, and none waits for it
but one every few seconds that asks again.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from math import ceil
from threading import Lock
from time import monotonic
from time import time as now

from flask import Flask, Response, current_app, g, request
from limits.storage import RedisStorage
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.errors import RateLimited
from shared.services.tenants import Caller
from shared.settings import settings

log = logging.getLogger(__name__)

_MINUTE_S = 60
_TIMEOUT_S = 0.1
"""How long the one request waits that finds Redis away."""
_PAUSE_S = 5.0
"""How long the others pass uncounted before one asks again."""
_EXTENSION = "atelier-rates"

# Whoever is over a limit counts no further: a key that is refused takes nothing of its tenant's.
_COUNT = b"""
    local counts = {}
    for position, key in ipairs(KEYS) do
        counts[position] = redis.call('INCR', key)
        if counts[position] == 1 then redis.call('EXPIRE', key, ARGV[1]) end
        if counts[position] > tonumber(ARGV[position + 1]) then break end
    end
    return counts
"""


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
                f"{who} sent {self.most} requests in this minute, which is the limit. "
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
        self._script = self._storage.get_connection().register_script(_COUNT)
        self._away = False
        self._ask_again_at = 0.0
        self._asking = Lock()

    def count(self, most: Mapping[str, int]) -> list[Standing]:
        """Count one request more of each who may send so many a minute, as far as the first who
        sent too many; nobody without Redis.
        """
        if not self._may_ask():
            return []
        minute, elapsed_s = divmod(now(), _MINUTE_S)
        keys = [self._storage.prefixed_key(f"{who}:{minute:.0f}") for who in most]
        try:
            counts = self._script(keys, [_MINUTE_S, *most.values()])
        except RedisError as error:
            log.warning("requests pass uncounted, because Redis does not answer: %s", error)
            self._away, self._ask_again_at = True, monotonic() + _PAUSE_S
            return []
        self._away = False
        reset_s = ceil(_MINUTE_S - elapsed_s)
        # What comes after one who sent too many was not counted.
        counted = zip(most.values(), counts, strict=False)
        return [Standing(each, count, reset_s) for each, count in counted]

    def _may_ask(self) -> bool:
        if not self._away:
            return True
        with self._asking:  # of two at once, one would wait with the other
            if monotonic() < self._ask_again_at:
                return False
            self._ask_again_at = monotonic() + _PAUSE_S
            return True


def add_to(app: Flask) -> None:
    """Have the application count, and say in its answers how many requests are left."""
    app.extensions[_EXTENSION] = Rates(settings().required("redis_url"))
    app.after_request(_say)


def count_caller(caller: Caller) -> None:
    """Count this request for its key and for its tenant. Raises RateLimited."""
    of_tenant = caller.max_requests or settings().tenant_requests
    most = {caller.key_id: settings().key_requests, caller.tenant_id: of_tenant}
    standings = _rates().count(most)
    if standings:
        g.standing = min(standings, key=lambda standing: standing.most - standing.count)
    for standing, who in zip(standings, ("This key has", "This tenant's keys have"), strict=False):
        standing.check(who)


def count_address() -> None:
    """Count this request, which came without a good key, for its address. Raises RateLimited."""
    for standing in _rates().count({sender(): settings().address_requests}):
        standing.check("This address has, without a good key,")


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
