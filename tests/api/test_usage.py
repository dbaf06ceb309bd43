"""Usage: what a tenant's keys used, by day, model and key."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from shared.db import transaction
from shared.services import tenants, usage
from shared.states import Lane, Scope
from shared.tables.job import Job
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, ok, refused, run_queued
from tests.ledger import add_dataset, add_stand_in, measure
from tests.settings import forget_settings
from tests.threads import draining
from worker.runner import drain

pytestmark = pytest.mark.usefixtures("stand_in")

USAGE = "/api/v1/usage"
TODAY = datetime.now(UTC).date()


def told(api: Api, *groups: str, **days: str) -> list[dict[str, Any]]:
    """The rows of a report, by default of today."""
    period = {"from": str(TODAY), "to": str(TODAY + timedelta(days=1)), **days}
    return ok(api.get(USAGE, group_by=groups or ["day"], **period))["data"]


@pytest.fixture
def other_key(api: Api, tenant: Tenant) -> tuple[str, Api]:
    """Another key of the same tenant: its id, and a client that sends it."""
    with transaction() as session:
        key, secret = tenants.add_key(session, tenant.id, "other", [Scope.GENERATE, Scope.READ])
    return key.id, api.with_key(secret)


def key_id(api: Api) -> str:
    return next(key["id"] for key in ok(api.get("/api/v1/keys"))["data"] if key["name"] == "test")


def test_a_job_is_told_of_the_day_model_and_key_that_it_was_for(api: Api) -> None:
    job = api.run({"seed": 1, "n": 2, "seconds": 0.05}, {"seed": 2}, {"fault": "refuse"})

    (row,) = told(api, "day", "model", "key")

    assert (row["day"], row["model"], row["key"]) == (str(TODAY), "stand-in", key_id(api))
    assert (row["items_done"], row["items_failed"]) == (2, 1)
    assert (row["outputs"], row["bytes"]) == (3, 3 * len("seed 1"))
    assert row["compute_seconds"] == pytest.approx(job["compute_seconds"], abs=0.001)
    assert row["compute_seconds"] >= 0.05


def test_a_long_item_that_failed_took_its_seconds_too(api: Api, tenant: Tenant) -> None:
    add_dataset(tenant.id, "nowhere")
    asked = {"kind": "evaluation", "model": "stand-in", "dataset": "nowhere"}
    job = ok(api.post(JOBS, asked), 202)

    drain(Lane.TRAINING)

    (row,) = told(api, "model")
    assert (row["model"], row["items_done"]) == ("stand-in", 0)
    shown = ok(api.get(f"{JOBS}/{job['id']}"))
    assert row["compute_seconds"] == shown["compute_seconds"] > 0


def test_rows_are_told_apart_only_by_what_is_asked_for(
    api: Api, other_key: tuple[str, Api]
) -> None:
    api.run({}, {})
    other_key[1].submit({}, model="stand-in@1")
    run_queued()

    by_key = {row["key"]: row for row in told(api, "key")}
    (by_model,) = told(api, "model")

    assert set(by_key) == {key_id(api), other_key[0]}
    assert (by_key[other_key[0]]["day"], by_key[other_key[0]]["items_done"]) == (None, 1)
    assert (by_model["model"], by_model["key"], by_model["items_done"]) == ("stand-in", None, 3)


def test_every_way_to_ask_for_work_is_told_of_its_key(api: Api, tenant: Tenant) -> None:
    add_dataset(tenant.id, "ready")
    file = ok(api.upload(b'{"params": {}}'))["id"]
    rows = ok(api.upload(b"text\na\n", "rows.csv", "fine-tune"))["id"]
    ok(api.post(JOBS, {"kind": "generation", "model": "stand-in", "input_file": file}), 202)
    ok(api.post("/api/v1/datasets", {"name": "a", "modality": "text", "files": [rows]}), 202)
    asked = {"input_file_id": file, "endpoint": "/v1/completions", "completion_window": "24h"}
    ok(api.post("/v1/batches", asked))
    ok(api.post(JOBS, {"kind": "evaluation", "model": "stand-in", "dataset": "ready"}), 202)
    tuning = {"model": "family:causal_lm", "training_file": rows}
    ok(api.post("/v1/fine_tuning/jobs", tuning))
    run_queued()

    (row,) = told(api, "key")

    assert row["key"] == key_id(api)
    assert row["compute_seconds"] > 0
    assert {each["model"] for each in told(api, "model")} == {"stand-in", None}
    with transaction() as session:
        assert session.scalars(select(Job.key_id)).all() == [key_id(api)] * 6


@pytest.mark.usefixtures("stories")
def test_tokens_are_those_that_the_answer_of_a_call_tells(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_WAIT_SECONDS", "240")
    forget_settings()
    asked = {"model": "stories", "prompt": "Once upon a time", "max_tokens": 8, "n": 2}

    with draining(Lane.TEXT):
        answered = ok(api.post("/v1/completions", asked))["usage"]

    (row,) = told(api, "model", "key")
    assert row["input_tokens"] == answered["prompt_tokens"] > 0
    assert row["output_tokens"] == answered["completion_tokens"] > 8
    assert (row["model"], row["key"]) == ("stories", key_id(api))


def test_what_is_told_stays_the_same_when_the_sweeper_has_summed_it_up(
    api: Api, tenant: Tenant
) -> None:
    measure(tenant.id, 3, 1.25)
    before = told(api, "day", "model", "key")

    with transaction() as session:
        usage.sum_up(session)

    assert told(api, "day", "model", "key") == before
    assert before[0]["compute_seconds"] == 3.75


def test_days_outside_are_not_told_and_absent_ones_are_this_month(api: Api, tenant: Tenant) -> None:
    measure(tenant.id, 1, 1.0)
    yesterday = str(TODAY - timedelta(days=1))

    assert told(api, **{"from": yesterday, "to": yesterday}) == []
    answer = ok(api.get(USAGE))

    assert (answer["from"], answer["to"]) == (str(TODAY.replace(day=1)), str(TODAY))
    assert (answer["object"], answer["group_by"], answer["budgets"]) == ("usage", ["day"], [])
    assert [row["day"] for row in answer["data"]] == [str(TODAY)]


def test_another_tenant_sees_only_its_own(api: Api, stranger: Api, tenant: Tenant) -> None:
    measure(tenant.id, 1, 1.0)

    assert told(stranger) == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"from": "today"}, "from"),
        ({"from": "2026-02-30"}, "from"),
        ({"from": "0"}, "from"),
        ({"to": "2026-3-1"}, "to"),
        ({"from": "2026-03-02", "to": "2026-03-01"}, "to"),
        ({"from": "2025-03-01", "to": "2026-03-02"}, "from"),
        ({"group_by": "hour"}, "group_by[0]"),
        ({"by": "day"}, "by"),
    ],
)
def test_a_bad_question_is_refused_naming_the_field(
    api: Api, query: dict[str, str], param: str
) -> None:
    assert refused(api.get(USAGE, **query), 400)["param"] == param


def test_a_key_without_the_scope_to_read_does_not_see_it(api: Api, tenant: Tenant) -> None:
    with transaction() as session:
        secret = tenants.add_key(session, tenant.id, "writer", [Scope.GENERATE])[1]

    refused(api.with_key(secret).get(USAGE), 403)


def test_a_model_of_the_same_name_of_another_tenant_is_another(api: Api, tenant: Tenant) -> None:
    with transaction() as session:
        other = tenants.add_tenant(session, "other").id
    add_stand_in(other)
    measure(other, 1, 1.0)

    assert told(api, "model") == []
