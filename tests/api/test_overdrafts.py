"""Overdrafts: work that was never measured stops when its budget is spent, and goes on with a new
one.
"""

from collections.abc import Callable
from typing import Any

import pytest

from shared.db import transaction
from shared.services import tenants
from shared.services.ledger.commit import Done, commit
from shared.states import Lane
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, ok, refused, run_queued
from tests.ledger import OUTPUT, assert_sound, submit, take
from worker.runner import drain
from worker.sweeper import hold_to_budgets

pytestmark = pytest.mark.usefixtures("stand_in")

Limit = Callable[[int | None], None]


@pytest.fixture
def limit(tenant: Tenant) -> Limit:
    """Sets the tenant's budget of a month."""

    def set_limit(max_compute_seconds: int | None) -> None:
        with transaction() as session:
            changes = {"max_compute_seconds": max_compute_seconds}
            tenants.change_tenant(session, tenant.name, changes)

    return set_limit


def run_some(seconds: float) -> None:
    """Run four items, each in so many compute seconds."""
    found = take(4)
    with transaction() as session:
        commit(session, found.token, [Done(one.id, [OUTPUT], seconds) for one in found.items])


def look(api: Api, job: dict[str, Any]) -> dict[str, Any]:
    return ok(api.get(f"{JOBS}/{job['id']}"))


@pytest.fixture
def overdrawn(api: Api, limit: Limit) -> dict[str, Any]:
    """A job of which a part has spent the budget."""
    limit(10)
    job = api.submit(*[{}] * 12)
    run_some(3.0)
    return job


def test_what_waits_of_it_stops_and_says_why(api: Api, overdrawn: dict[str, Any]) -> None:
    hold_to_budgets()

    job = look(api, overdrawn)
    assert (job["state"], job["counts"]["done"], job["counts"]["queued"]) == ("paused", 4, 8)
    assert "budget of compute seconds for this month is spent" in job["warnings"][-1]
    events = ok(api.get(f"{JOBS}/{job['id']}/events"))["data"]
    assert job["warnings"][-1] in [event["message"] for event in events]
    assert take().items == []
    assert_sound()


def test_it_goes_on_by_itself_when_the_budget_is_raised(
    api: Api, overdrawn: dict[str, Any], limit: Limit
) -> None:
    hold_to_budgets()
    limit(100)

    hold_to_budgets()
    drain(Lane.TEXT)

    job = look(api, overdrawn)
    assert (job["state"], job["counts"]["done"]) == ("succeeded", 12)
    assert not any("is spent" in warning for warning in job["warnings"])
    assert_sound()


@pytest.mark.parametrize("budget", [11, None])
def test_nothing_stops_below_its_budget_or_without_one(
    api: Api, limit: Limit, budget: int | None
) -> None:
    limit(budget)
    job = api.submit(*[{}] * 12)
    run_some(2.5)

    hold_to_budgets()

    assert look(api, job)["state"] == "running"


def test_nobody_resumes_it_while_the_budget_is_spent(api: Api, overdrawn: dict[str, Any]) -> None:
    hold_to_budgets()

    error = refused(api.post(f"{JOBS}/{overdrawn['id']}/resume"), 429)

    assert error["code"] == "budget_spent"
    assert look(api, overdrawn)["state"] == "paused"


def test_what_somebody_has_paused_waits_for_somebody(
    api: Api, overdrawn: dict[str, Any], limit: Limit
) -> None:
    hold_to_budgets()
    paused = ok(api.post(f"{JOBS}/{overdrawn['id']}/pause"))
    assert not any("is spent" in warning for warning in paused["warnings"])
    limit(100)

    hold_to_budgets()

    assert look(api, overdrawn)["state"] == "paused"
    ok(api.post(f"{JOBS}/{overdrawn['id']}/resume"))
    run_queued()
    assert look(api, overdrawn)["state"] == "succeeded"


def test_a_keys_budget_stops_what_it_asked_for_and_nothing_else(api: Api, tenant: Tenant) -> None:
    asked = {"name": "small", "scopes": ["generate", "read"], "max_compute_seconds": 10}
    key = ok(api.post("/api/v1/keys", asked), 201)
    stops = submit(tenant.id, [{}] * 12, key_id=key["id"])
    goes_on = api.submit(*[{}] * 12)
    run_some(3.0)

    hold_to_budgets()

    assert look(api, {"id": stops.id})["state"] == "paused"
    assert look(api, goes_on)["state"] == "queued"
