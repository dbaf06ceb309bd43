"""Pressure: over a quota nothing is accepted, and the answer says when to come again."""

from collections.abc import Callable

import pytest

from shared.db import transaction
from shared.services import tenants
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, new_tenant, ok, refused, run_queued
from tests.ledger import add_stand_in, assert_sound
from tests.settings import forget_settings

pytestmark = pytest.mark.usefixtures("stand_in")

Limit = Callable[..., None]


@pytest.fixture
def limit(tenant: Tenant) -> Limit:
    """Sets limits of the tenant."""

    def set_limits(**limits: int) -> None:
        with transaction() as session:
            tenants.change_tenant(session, tenant.name, dict(limits))

    return set_limits


def body(items: int) -> dict:
    return {"kind": "generation", "model": "stand-in", "items": [{"params": {}}] * items}


def test_over_a_tenants_limit_nothing_is_accepted_until_some_are_done(
    api: Api, limit: Limit
) -> None:
    limit(max_queued=5)
    api.submit(*[{}] * 4)

    response = api.post(JOBS, body(2))

    error = refused(response, 429)
    assert (error["code"], error["type"]) == ("queue_full", "rate_limit_error")
    assert int(response.headers["Retry-After"]) > 0
    assert "4 of your items wait and 2 more would pass the limit of 5" in error["message"]
    assert len(ok(api.get(JOBS))["data"]) == 1
    run_queued()
    ok(api.post(JOBS, body(5)), 202)
    assert_sound()


def test_what_is_paused_counts_too(api: Api, limit: Limit) -> None:
    limit(max_queued=5)
    paused, _ = api.submit(*[{}] * 3), api.submit({})
    ok(api.post(f"{JOBS}/{paused['id']}/pause"))

    assert "4 of your items wait" in refused(api.post(JOBS, body(2)), 429)["message"]
    ok(api.post(f"{JOBS}/{paused['id']}/resume"))
    assert "4 of your items wait" in refused(api.post(JOBS, body(2)), 429)["message"]


def test_another_tenant_is_not_held_up_by_it(api: Api, limit: Limit) -> None:
    limit(max_queued=1)
    api.submit({})
    refused(api.post(JOBS, body(1)), 429)
    other_id, other_key = new_tenant()
    add_stand_in(other_id)

    ok(api.with_key(other_key).post(JOBS, body(3)), 202)


def test_over_the_ceiling_of_all_the_api_is_overloaded(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_id, other_key = new_tenant()
    add_stand_in(other_id)
    monkeypatch.setenv("ATELIER_MAX_QUEUED", "4")
    forget_settings()
    ok(api.with_key(other_key).post(JOBS, body(4)), 202)

    response = api.post(JOBS, body(1))

    assert refused(response, 503)["code"] == "overloaded"
    assert int(response.headers["Retry-After"]) > 0
    assert ok(api.get(JOBS))["data"] == []


def test_bytes_of_files_and_of_outputs_count_alike(api: Api, limit: Limit) -> None:
    ok(api.upload(b"x" * 100))
    api.run({"seed": 1}, {"seed": 2})
    limit(max_bytes=100 + 2 * len("seed 1"))
    ok(api.post(JOBS, body(1)), 202)
    limit(max_bytes=100 + 2 * len("seed 1") - 1)

    assert refused(api.post(JOBS, body(1)), 429)["code"] == "storage_full"
    assert refused(api.upload(b"x"), 429)["code"] == "storage_full"


def test_a_file_of_items_and_a_training_count_too(api: Api, limit: Limit) -> None:
    file = ok(api.upload(b'{"params": {}}'))["id"]
    limit(max_queued=1)
    api.submit({})

    refused(api.post(JOBS, {"kind": "generation", "model": "stand-in", "input_file": file}), 429)


def test_what_a_retry_queues_again_was_accepted_before_and_is_not_refused(
    api: Api, limit: Limit
) -> None:
    job = api.run({"fault": "refuse"}, {"fault": "refuse"})
    limit(max_queued=1)

    again = ok(api.post(f"{JOBS}/{job['id']}/retry"))

    assert again["counts"]["queued"] == 2
