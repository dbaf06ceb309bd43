"""Budgets of compute seconds: over them nothing is accepted, and what runs goes on."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import text

from shared.db import transaction
from shared.services import tenants
from shared.services.ledger import flows
from shared.states import Lane, Scope
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, new_tenant, ok, refused, run_queued
from tests.ledger import (
    add_stand_in,
    assert_sound,
    execute,
    finish,
    measure,
    somebody_waits_for_a_lock,
    take,
)
from tests.waiting import until
from worker.runner import drain

pytestmark = pytest.mark.usefixtures("stand_in")

Limit = Callable[[int], None]


@pytest.fixture
def limit(tenant: Tenant) -> Limit:
    """Sets the tenant's budget of a month."""

    def set_limit(max_compute_seconds: int) -> None:
        with transaction() as session:
            changes = {"max_compute_seconds": max_compute_seconds}
            tenants.change_tenant(session, tenant.name, changes)

    return set_limit


def body(items: int, **fields: Any) -> dict[str, Any]:
    return {"kind": "generation", "model": "stand-in", "items": [{"params": {}}] * items, **fields}


def standing(api: Api) -> dict[str, dict[str, Any]]:
    """How the budgets of this month stand, by whose they are."""
    return {row["of"]: row for row in ok(api.get("/api/v1/usage"))["budgets"]}


def test_what_does_not_fit_is_refused_before_anything_is_accepted(
    api: Api, tenant: Tenant, limit: Limit
) -> None:
    measure(tenant.id, 2, 2.0)
    limit(10)
    ok(api.post(JOBS, body(2)), 202)

    response = api.post(JOBS, body(2))

    error = refused(response, 429)
    assert (error["code"], error["type"]) == ("budget_spent", "rate_limit_error")
    assert (
        "Of your tenant's budget of 10 compute seconds for this month 4.0 are spent and 4.0 "
        "expected of what waits and runs; 4.0 more do not fit into the 2.0 that remain."
    ) in error["message"]
    assert response.headers["x-should-retry"] == "false"
    assert 0 < int(response.headers["Retry-After"]) <= 31 * 86_400
    assert len(ok(api.get(JOBS))["data"]) == 2
    assert_sound()
    ok(api.post(JOBS, body(1)), 202)


def test_the_same_idempotency_key_may_be_used_when_there_is_room(
    api: Api, tenant: Tenant, limit: Limit
) -> None:
    measure(tenant.id, 1, 2.0)
    limit(3)
    refused(api.post(JOBS, body(1), idempotency_key="a"), 429)

    limit(4)

    ok(api.post(JOBS, body(1), idempotency_key="a"), 202)


def test_what_runs_counts_as_expected_and_goes_on_when_the_budget_is_spent(
    api: Api, tenant: Tenant, limit: Limit
) -> None:
    measure(tenant.id, 1, 2.0)
    api.submit({}, {})
    running = take()
    limit(2)

    stands = standing(api)["tenant"]
    refused(api.post(JOBS, body(1)), 429)

    assert (stands["spent"], stands["reserved"], stands["remaining"]) == (2.0, 4.0, 0.0)
    assert len(finish(running)) == 2


def test_a_budget_that_is_spent_refuses_even_what_has_no_price(
    api: Api, tenant: Tenant, limit: Limit
) -> None:
    measure(tenant.id, 1, 5.0)
    add_stand_in(tenant.id, "never-ran")
    limit(6)
    execute("UPDATE usage_entries SET family = 'other'")
    ok(api.post(JOBS, body(1, model="never-ran")), 202)

    limit(5)

    refused(api.post(JOBS, body(1, model="never-ran")), 429)


def test_what_has_no_price_counts_as_nothing_and_says_so(api: Api, limit: Limit) -> None:
    limit(1)

    job = ok(api.post(JOBS, body(100)), 202)

    assert job["warnings"] == [
        "Nothing like it was measured in the last 30 days: it counts as 0 compute seconds against "
        "the budget until some is."
    ]
    assert standing(api)["tenant"]["reserved"] == 0


def test_last_months_seconds_are_not_this_months(api: Api, tenant: Tenant, limit: Limit) -> None:
    measure(tenant.id, 1, 5.0)
    limit(5)
    refused(api.post(JOBS, body(1)), 429)

    execute(
        "UPDATE usage_entries SET day = (date_trunc('month', now() AT TIME ZONE 'UTC') "
        "- interval '1 day')::date"
    )

    ok(api.post(JOBS, body(1)), 202)


def test_a_keys_budget_holds_for_what_it_asks_for_and_for_no_other_key(
    api: Api, tenant: Tenant
) -> None:
    asked = {"name": "small", "scopes": ["generate", "read"], "max_compute_seconds": 3}
    small = ok(api.post("/api/v1/keys", asked), 201)
    assert small["max_compute_seconds"] == 3
    client = api.with_key(small["key"])
    measure(tenant.id, 1, 2.0)
    ok(client.post(JOBS, body(1)), 202)

    error = refused(client.post(JOBS, body(1)), 429)

    assert "Of this key's budget of 3 compute seconds" in error["message"]
    ok(api.post(JOBS, body(9)), 202)
    assert standing(client)["key"]["reserved"] == 2.0
    assert standing(api) == {}


def test_a_key_that_takes_anothers_place_has_its_budget_and_what_was_spent_of_it(
    api: Api, tenant: Tenant
) -> None:
    asked = {"name": "small", "scopes": ["generate", "read"], "max_compute_seconds": 5}
    old = ok(api.post("/api/v1/keys", asked), 201)
    measure(tenant.id, 1, 2.0, key_id=old["id"])
    new = ok(api.post(f"/api/v1/keys/{old['id']}/rotate", {}), 201)
    newest = ok(api.post(f"/api/v1/keys/{new['id']}/rotate", {}), 201)
    ok(api.with_key(old["key"]).post(JOBS, body(1)), 202)

    client = api.with_key(newest["key"])

    stands = standing(client)["key"]
    assert (newest["max_compute_seconds"], stands["spent"], stands["reserved"]) == (5, 2.0, 2.0)
    refused(client.post(JOBS, body(1)), 429)


@pytest.mark.parametrize("seconds", [0, -1, 2**63, "many"])
def test_a_keys_budget_that_is_none_is_refused(api: Api, seconds: Any) -> None:
    asked = {"name": "a", "scopes": ["read"], "max_compute_seconds": seconds}

    assert refused(api.post("/api/v1/keys", asked), 400)["param"] == "max_compute_seconds"


def test_another_tenant_has_its_own(api: Api, tenant: Tenant, limit: Limit) -> None:
    measure(tenant.id, 1, 2.0)
    limit(1)
    refused(api.post(JOBS, body(1)), 429)
    other_id, other_key = new_tenant()
    add_stand_in(other_id)

    ok(api.with_key(other_key).post(JOBS, body(3)), 202)


def test_jobs_that_come_at_once_do_not_pass_it_together(
    api: Api, tenant: Tenant, limit: Limit
) -> None:
    measure(tenant.id, 1, 2.0)
    limit(7)
    together = Barrier(6)
    codes: list[int] = []

    def submit() -> None:
        client = Api(api.client.application.test_client(), api.key)
        together.wait()
        codes.append(client.post(JOBS, body(1)).status_code)

    threads = [Thread(target=submit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(codes) == [202, 202, 429, 429, 429, 429]
    assert standing(api)["tenant"]["remaining"] == 1.0


def test_a_retry_must_fit_too(api: Api, tenant: Tenant, limit: Limit) -> None:
    measure(tenant.id, 1, 2.0)
    job = api.run({"fault": "refuse"})
    limit(2)

    refused(api.post(f"{JOBS}/{job['id']}/retry"), 429)
    refused(api.post("/api/v1/failures/retry", {"job": job["id"]}), 429)

    assert ok(api.get(f"{JOBS}/{job['id']}"))["counts"]["failed"] == 1
    limit(5)
    ok(api.post(f"{JOBS}/{job['id']}/retry"))


def test_a_training_counts_what_it_may_take_even_while_it_waits_for_its_data(
    api: Api, limit: Limit
) -> None:
    limit(100)
    rows = ok(api.upload(b"text\na\n", "rows.csv", "fine-tune"))["id"]
    method = {"type": "supervised", "supervised": {"hyperparameters": {"max_seconds": 60}}}
    asked = {"model": "family:causal_lm", "training_file": rows, "method": method}
    tuning = ok(api.post("/v1/fine_tuning/jobs", asked))
    assert tuning["status"] == "validating_files"

    error = refused(api.post("/v1/fine_tuning/jobs", asked), 429)

    assert "60.0 expected" in error["message"]
    assert standing(api)["tenant"]["reserved"] == 60.0
    ok(api.post(f"/v1/fine_tuning/jobs/{tuning['id']}/cancel"))
    assert standing(api)["tenant"]["reserved"] == 0.0
    ok(api.post("/v1/fine_tuning/jobs", asked))


class TestInputFile:
    """What its lines cost is known once they are read: the job is refused then."""

    @pytest.fixture
    def submitted(self, api: Api, tenant: Tenant) -> dict[str, Any]:
        measure(tenant.id, 1, 2.0)
        file = ok(api.upload(b'{"params": {}}\n' * 3))["id"]
        asked = {"kind": "generation", "model": "stand-in", "input_file": file}
        return ok(api.post(JOBS, asked), 202)

    def test_one_that_does_not_fit_fails_before_anything_of_it_runs(
        self, api: Api, limit: Limit, submitted: dict[str, Any]
    ) -> None:
        limit(7)
        drain(Lane.LIGHT)

        job = ok(api.get(f"{JOBS}/{submitted['id']}"))
        assert (job["state"], job["error"]["code"]) == ("failed", "budget_spent")
        assert "6.0 more do not fit into the 5.0 that remain" in job["error"]["message"]
        assert job["counts"]["total"] == 0
        assert_sound()

    def test_one_that_fits_runs(self, api: Api, limit: Limit, submitted: dict[str, Any]) -> None:
        limit(9)
        drain(Lane.LIGHT)

        assert standing(api)["tenant"]["reserved"] == 6.0
        run_queued()
        assert ok(api.get(f"{JOBS}/{submitted['id']}"))["state"] == "succeeded"

    def test_none_is_taken_when_the_budget_is_spent(
        self, api: Api, limit: Limit, submitted: dict[str, Any]
    ) -> None:
        limit(2)
        again = {key: submitted[key] for key in ("kind", "model", "input_file")}

        refused(api.post(JOBS, again), 429)


def test_an_input_file_that_starts_waits_for_no_flow_while_it_holds_its_tenant(
    api: Api, tenant: Tenant, limit: Limit
) -> None:
    """Whoever makes a lane's first flow beside it asks for the tenant next."""
    limit(9)
    asked = {"input_file": ok(api.upload(b'{"params": {}}\n'))["id"]}
    job = ok(api.post(JOBS, {"kind": "generation", "model": "stand-in", **asked}), 202)

    with ThreadPoolExecutor(1) as thread:
        with transaction() as session:
            flows.make_flow(session, Lane.TEXT, tenant.id)
            starting = thread.submit(drain, Lane.LIGHT)
            until(somebody_waits_for_a_lock)
            session.execute(text("SELECT FROM tenants FOR NO KEY UPDATE NOWAIT"))
        starting.result()

    assert ok(api.get(f"{JOBS}/{job['id']}"))["state"] == "queued"
    assert_sound()


def test_without_a_budget_nobody_waits_for_the_tenants_row(api: Api, tenant: Tenant) -> None:
    with transaction() as session:
        session.execute(text("SELECT FROM tenants FOR NO KEY UPDATE"))

        ok(api.post(JOBS, body(1)), 202)


def test_reading_needs_no_more_than_the_scope_read(api: Api, tenant: Tenant, limit: Limit) -> None:
    limit(5)
    with transaction() as session:
        secret = tenants.add_key(session, tenant.id, "reader", [Scope.READ])[1]

    assert standing(api.with_key(secret))["tenant"]["remaining"] == 5.0
