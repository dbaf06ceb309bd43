"""Limits by key and by address: said in every answer, kept by all processes, and never in the way
when Redis is away.
"""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from urllib.parse import urlsplit, urlunsplit

import pytest
from flask import Flask

from api import limits
from api.app import create_app
from shared.db import transaction
from shared.embedded.engines import Urls
from shared.services import tenants
from shared.settings import settings
from shared.states import Scope
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, new_key, ok, refused
from tests.chaos.proxy import Fault, Proxy, proxy
from tests.settings import forget_settings

UNKNOWN_KEY = "atl_unknown"
MINUTE = 1_700_000_040.0
"""A moment at which a minute begins."""


class Clock:
    """What the limits take for the time."""

    def __init__(self) -> None:
        self.now = MINUTE

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(limits, "now", stopped)
    return stopped


@pytest.fixture
def tight(installation: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three requests a minute by key, and three by address."""
    monkeypatch.setenv("ATELIER_KEY_REQUESTS", "3")
    monkeypatch.setenv("ATELIER_ADDRESS_REQUESTS", "3")
    forget_settings()


def left(api: Api, path: str = JOBS) -> tuple[str, str, str]:
    """What an answer says of the limit."""
    headers = api.get(path).headers
    return tuple(
        headers[f"x-ratelimit-{name}-requests"] for name in ("limit", "remaining", "reset")
    )  # type: ignore[return-value]


@pytest.mark.usefixtures("tight")
class TestByKey:
    def test_every_answer_to_a_key_says_how_many_requests_are_left(
        self, api: Api, anonymous: Api, tenant: Tenant, clock: Clock
    ) -> None:
        clock.now += 12.5

        assert left(api) == ("3", "2", "48s")
        assert left(api, f"{JOBS}/none") == ("3", "1", "48s")
        reader = anonymous.with_key(new_key(tenant.id, [Scope.READ]))
        assert left(reader, "/api/v1/keys") == ("3", "2", "48s")

    def test_one_request_too_many_is_429_and_says_when_to_come_again(
        self, api: Api, clock: Clock
    ) -> None:
        for _ in range(3):
            ok(api.get(JOBS))
        clock.now += 20

        response = api.get(JOBS)

        error = refused(response, 429)
        assert (error["code"], error["type"]) == ("rate_limited", "rate_limit_error")
        assert "3 requests" in error["message"]
        assert response.headers["Retry-After"] == "40"
        assert response.headers["x-ratelimit-remaining-requests"] == "0"
        clock.now = MINUTE + 60
        ok(api.get(JOBS))

    def test_nothing_is_created_over_the_limit(self, api: Api, stand_in: str, clock: Clock) -> None:
        for _ in range(3):
            ok(api.get(JOBS))
        body = {"kind": "generation", "model": stand_in, "items": [{"params": {}}]}

        refused(api.post(JOBS, body), 429)

        clock.now += 60
        assert ok(api.get(JOBS))["data"] == []

    def test_another_key_has_a_limit_of_its_own(
        self, api: Api, anonymous: Api, tenant: Tenant, clock: Clock
    ) -> None:
        for _ in range(3):
            ok(api.get(JOBS))
        refused(api.get(JOBS), 429)

        ok(anonymous.with_key(new_key(tenant.id, [Scope.READ])).get(JOBS))

    def test_all_processes_count_together(self, api: Api, clock: Clock) -> None:
        another = Api(create_app().test_client(), api.key)
        for client in (api, another, api):
            ok(client.get(JOBS))

        refused(another.get(JOBS), 429)


@pytest.mark.usefixtures("tight")
class TestByTenant:
    """Over all its keys together."""

    @pytest.fixture(autouse=True)
    def _four_by_tenant(self, tight: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ATELIER_TENANT_REQUESTS", "4")
        forget_settings()

    @pytest.fixture
    def second(self, anonymous: Api, tenant: Tenant) -> Api:
        """A client with another key of the same tenant."""
        return anonymous.with_key(new_key(tenant.id, [Scope.READ]))

    def test_the_limit_that_is_nearest_is_told(self, api: Api, second: Api, clock: Clock) -> None:
        clock.now += 12.5

        assert left(api) == ("3", "2", "48s")
        assert left(api) == ("3", "1", "48s")
        assert left(second) == ("4", "1", "48s")
        assert left(second) == ("4", "0", "48s")

    def test_one_request_too_many_of_all_keys_is_429_and_says_whose_limit_it_is(
        self, api: Api, second: Api, clock: Clock
    ) -> None:
        for client in (api, api, second, second):
            ok(client.get(JOBS))
        clock.now += 20

        response = second.get(JOBS)

        error = refused(response, 429)
        assert error["code"] == "rate_limited"
        assert "This tenant's keys have sent 4 requests" in error["message"]
        assert response.headers["Retry-After"] == "40"
        assert response.headers["x-ratelimit-limit-requests"] == "4"
        assert response.headers["x-ratelimit-remaining-requests"] == "0"
        clock.now = MINUTE + 60
        ok(second.get(JOBS))

    def test_a_key_that_is_refused_takes_nothing_from_the_others(
        self, api: Api, second: Api, clock: Clock
    ) -> None:
        for _ in range(3):
            ok(api.get(JOBS))
        for _ in range(5):
            assert "This key has" in refused(api.get(JOBS), 429)["message"]

        ok(second.get(JOBS))

    def test_a_tenants_own_limit_holds_from_the_next_request_on(
        self, api: Api, tenant: Tenant, clock: Clock
    ) -> None:
        assert left(api) == ("3", "2", "60s")
        with transaction() as session:
            tenants.change_tenant(session, tenant.name, {"max_requests": 2})

        assert left(api) == ("2", "0", "60s")
        refused(api.get(JOBS), 429)

    def test_another_tenant_is_not_held_up(self, api: Api, stranger: Api, clock: Clock) -> None:
        for _ in range(4):
            api.get(JOBS)

        assert left(stranger) == ("3", "2", "60s")


@pytest.mark.usefixtures("tight", "clock")
class TestByAddress:
    def test_who_tries_keys_is_told_to_wait_and_a_good_key_is_not(
        self, api: Api, anonymous: Api
    ) -> None:
        guesser = anonymous.with_key(UNKNOWN_KEY)
        for _ in range(3):
            refused(guesser.get(JOBS), 401)

        response = guesser.get(JOBS)

        assert refused(response, 429)["code"] == "rate_limited"
        assert int(response.headers["Retry-After"]) == 60
        refused(anonymous.get(JOBS), 429)
        ok(api.get(JOBS))

    @pytest.mark.parametrize("path", ["/openapi.json", "/dashboard/login", "/nothing", "/metrics"])
    def test_what_needs_no_key_is_counted_too(self, anonymous: Api, path: str) -> None:
        for _ in range(3):
            assert anonymous.get(path).status_code != 429

        assert anonymous.get(path).status_code == 429

    def test_probes_of_health_are_not(self, anonymous: Api) -> None:
        for _ in range(5):
            ok(anonymous.get("/api/v1/health/live"))
            ok(anonymous.get("/api/v1/health/ready"))

    def test_two_addresses_are_counted_apart_unless_they_are_of_one_ipv6_network(
        self, app: Flask
    ) -> None:
        def asks(address: str) -> int:
            origin = {"REMOTE_ADDR": address}
            return app.test_client().get("/openapi.json", environ_overrides=origin).status_code

        assert [asks("2001:db8::1"), asks("2001:db8::2"), asks("2001:db8::ffff:3")] == [200] * 3
        assert asks("2001:db8::4") == 429
        assert [asks("2001:db8:0:1::1"), asks("192.0.2.1"), asks("")] == [200] * 3


def test_guesses_of_a_password_are_counted_by_account_and_by_address(
    app: Flask, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = app.test_client()
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', client.get("/dashboard/login").text)
    assert token is not None

    def guess(email: str, address: str) -> int:
        form = {"email": email, "password": "wrong", "csrf_token": token[1]}
        origin = {"REMOTE_ADDR": address}
        return client.post("/dashboard/login", data=form, environ_overrides=origin).status_code

    assert [guess("rita@example.org", f"192.0.2.{n}") for n in range(11)] == [200] * 10 + [429]
    # What the sign-in reads as one address is one account.
    for spelling in ("RITA@example.org ", "rita@ex\ufe0fample.org", "rita@example\u3002org"):
        assert guess(spelling, "192.0.2.99") == 429
    assert [guess(f"{n}@example.org", "198.51.100.1") for n in range(11)] == [200] * 10 + [429]


@pytest.fixture
def redis(urls: Urls) -> Iterator[Proxy]:
    """A proxy in front of Redis."""
    there = urlsplit(str(urls.redis))
    assert there.hostname is not None
    assert there.port is not None
    with proxy(there.hostname, there.port) as between:
        yield between


@pytest.fixture
def behind(redis: Proxy, urls: Urls, api_key: str, monkeypatch: pytest.MonkeyPatch) -> Api:
    """A client of an API that reaches Redis through that proxy, with three requests a minute."""
    there = urlsplit(str(urls.redis))
    address = there.netloc.replace(f":{there.port}", f":{redis.port}")
    monkeypatch.setenv("ATELIER_REDIS_URL", urlunsplit(there._replace(netloc=address)))
    monkeypatch.setenv("ATELIER_KEY_REQUESTS", "3")
    forget_settings()
    return Api(create_app().test_client(), api_key)


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.SILENT])
def test_without_redis_requests_pass_and_only_the_first_waits(
    behind: Api, redis: Proxy, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(limits, "monotonic", lambda: now)
    ok(behind.get(JOBS))
    redis.fault = fault
    ok(behind.get(JOBS))
    asked = redis.struck
    assert asked > 0

    answers = [behind.get(JOBS) for _ in range(20)]

    assert [answer.status_code for answer in answers] == [200] * 20
    assert "x-ratelimit-limit-requests" not in answers[-1].headers
    assert redis.struck == asked, "Redis was asked again at once"


def test_of_two_requests_at_once_one_asks_again_for_redis(
    behind: Api, redis: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = limits.Rates(settings().required("redis_url"))
    with redis.showing(Fault.REFUSE):
        assert rates.count({"somebody": 3}) == []
    both = Barrier(2)

    def later() -> float:
        with suppress(BrokenBarrierError):
            both.wait(0.5)  # for the other thread, if it may come so far
        return time.monotonic() + 6

    monkeypatch.setattr(limits, "monotonic", later)
    with ThreadPoolExecutor(2) as pool:
        asked = list(pool.map(lambda _: rates._may_ask(), range(2)))

    assert sorted(asked) == [False, True]


def test_when_redis_is_back_requests_are_counted_again(
    behind: Api, redis: Proxy, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis.showing(Fault.REFUSE):
        for _ in range(5):
            ok(behind.get(JOBS))
    monkeypatch.setattr(limits, "monotonic", lambda: time.monotonic() + 6)

    assert [left(behind)[1] for _ in range(3)] == ["2", "1", "0"]
    refused(behind.get(JOBS), 429)


def test_without_redis_the_quotas_of_the_ledger_hold(
    behind: Api, redis: Proxy, tenant: Tenant, stand_in: str
) -> None:
    redis.fault = Fault.REFUSE
    with transaction() as session:
        tenants.change_tenant(session, tenant.name, {"max_queued": 2})
    for _ in range(2):
        behind.submit({})

    body = {"kind": "generation", "model": stand_in, "items": [{"params": {}}]}

    assert refused(behind.post(JOBS, body), 429)["code"] == "queue_full"
