"""Dry runs: everything is checked as if to accept, nothing is made, an estimate is answered."""

import re
import time
from typing import Any

import pytest
from sqlalchemy import text

from shared.db import transaction
from shared.services import tenants
from shared.states import Lane, Scope
from shared.tables.metadata import metadata
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, ok, refused
from tests.ledger import add_dataset, add_other_tenant, add_stand_in, assert_sound, execute, measure
from tests.settings import forget_settings
from worker.runner import drain

pytestmark = pytest.mark.usefixtures("stand_in")


def body(*params: dict[str, Any], **fields: Any) -> dict[str, Any]:
    items = [{"params": each} for each in params]
    return {"kind": "generation", "model": "stand-in", "items": items, **fields}


def estimate(api: Api, *params: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return ok(api.post(JOBS, body(*params, **fields, dry_run=True)))


def whenever(warnings: list[str]) -> list[str]:
    """Warnings, one second or the next: what they say of the time that is left is the clock's."""
    return [re.sub(r"in \d+ s,", "in so many seconds,", warning) for warning in warnings]


def rows() -> dict[str, list[Any]]:
    """Everything in the database but when keys were used."""
    with transaction() as session:
        return {
            name: sorted(session.execute(text(f'SELECT t::text FROM "{name}" t')).scalars())
            for name in set(metadata.tables) - {"keys"}
        }


def test_an_estimate_prices_the_cost_of_items_by_what_the_version_took(
    api: Api, tenant: Tenant
) -> None:
    measure(tenant.id, 4, 1.5)

    told = estimate(api, {"n": 3}, {"n": 2})

    assert told == {
        "object": "job.estimate",
        "kind": "generation",
        "model": "stand-in",
        "items": 2,
        "compute_seconds": 7.5,
        "basis": 4,
        "position": 2,
        "warnings": [],
    }


def test_a_dry_run_changes_no_row_of_any_table(api: Api, tenant: Tenant) -> None:
    measure(tenant.id, 1, 1.0)
    before = rows()

    answer = api.post(JOBS, body({}, {}, dry_run=True), idempotency_key="a")

    assert ok(answer)["items"] == 2
    assert rows() == before
    assert_sound()


def test_its_idempotency_key_is_free_for_the_job_itself(api: Api) -> None:
    ok(api.post(JOBS, body({}, dry_run=True), idempotency_key="a"))

    job = ok(api.post(JOBS, body({}), idempotency_key="a"), 202)

    assert job["object"] == "job"


def test_it_stands_where_the_job_itself_would_stand(api: Api) -> None:
    other = add_other_tenant()
    measure(other, 1, 1.0)
    api.submit(*[{}] * 5)

    told = estimate(api, {}, {})
    job = api.submit({}, {})

    assert told["position"] == job["position"] == 7


def test_without_a_measurement_there_is_no_price(api: Api) -> None:
    other = add_other_tenant()
    measure(other, 3, 1.0)

    told = estimate(api, {})

    assert (told["compute_seconds"], told["basis"]) == (None, 0)
    assert told["warnings"] == [
        "Nothing like it was measured in the last 30 days, so it has no price."
    ]


def test_a_version_that_never_ran_costs_what_its_family_does_and_says_so(
    api: Api, tenant: Tenant
) -> None:
    measure(tenant.id, 2, 3.0)
    add_stand_in(tenant.id, "new")

    told = estimate(api, {}, model="new")

    assert (told["compute_seconds"], told["basis"]) == (3.0, 2)
    assert "others of family stand_in" in told["warnings"][0]


def test_old_measurements_do_not_count(api: Api, tenant: Tenant) -> None:
    measure(tenant.id, 1, 100.0)
    execute("UPDATE usage_entries SET day = day - 30")
    measure(tenant.id, 1, 2.0)

    assert estimate(api, {})["compute_seconds"] == 2.0


def test_a_training_takes_at_most_what_it_is_allowed(api: Api, tenant: Tenant) -> None:
    add_dataset(tenant.id, "rows")
    asked = {
        "kind": "training",
        "family": "causal_lm",
        "model": "writer",
        "dataset": "rows",
        "params": {"max_seconds": 90},
        "dry_run": True,
    }

    told = ok(api.post(JOBS, asked))

    assert (told["kind"], told["items"], told["compute_seconds"]) == ("training", 1, 90.0)
    assert told["basis"] == 0
    assert "max_seconds" in told["warnings"][0]
    assert ok(api.get(JOBS))["data"] == []


def test_an_evaluation_is_priced_by_evaluations(api: Api, tenant: Tenant) -> None:
    add_dataset(tenant.id, "rows")
    measure(tenant.id, 1, 1.0)
    asked = {"kind": "evaluation", "model": "stand-in", "dataset": "rows", "dry_run": True}
    assert ok(api.post(JOBS, asked))["compute_seconds"] is None
    execute("UPDATE usage_entries SET kind = 'evaluation', compute_seconds = 40")

    assert ok(api.post(JOBS, asked))["compute_seconds"] == 40.0


@pytest.mark.parametrize(
    "fault",
    [
        {"model": "none"},
        {"items": [{"params": {"n": 0}}]},
        {"items": [{"params": {"seconds": 61}}]},
        {"items": [{"params": {}, "custom_id": "a"}, {"params": {}, "custom_id": "a"}]},
        {"items": []},
        {"params": {}},
        {"webhook": "webhook_none"},
        {"deadline": 1},
        {"kind": "training", "items": None, "dataset": "none", "family": "causal_lm"},
    ],
)
def test_what_a_job_is_refused_for_a_dry_run_is_refused_for_alike(
    api: Api, fault: dict[str, Any]
) -> None:
    asked = body({}) | fault
    real = api.post(JOBS, asked)

    dry = api.post(JOBS, {**asked, "dry_run": True})

    assert dry.status_code == real.status_code
    assert refused(dry, dry.status_code) == refused(real, real.status_code)


def test_quotas_and_budgets_refuse_it_too(api: Api, tenant: Tenant) -> None:
    measure(tenant.id, 1, 2.0)
    with transaction() as session:
        limits = {"max_queued": 3, "max_compute_seconds": 7}
        tenants.change_tenant(session, tenant.name, limits)

    assert estimate(api, {}, {})["compute_seconds"] == 4.0
    over = api.post(JOBS, body(*[{}] * 3, dry_run=True))
    assert refused(over, 429)["code"] == "budget_spent"
    over = api.post(JOBS, body(*[{}] * 4, dry_run=True))
    assert refused(over, 429)["code"] == "queue_full"


def test_it_needs_the_scope_of_the_job(api: Api, tenant: Tenant) -> None:
    with transaction() as session:
        secret = tenants.add_key(session, tenant.id, "trainer", [Scope.TRAIN])[1]

    refused(api.with_key(secret).post(JOBS, body({}, dry_run=True)), 403)


class TestOfAFile:
    """Its lines are read at once, as a worker would read them."""

    @pytest.fixture
    def asked(self, api: Api) -> Any:
        """Gives the body of a job whose file has these lines."""

        def ask(content: bytes) -> dict[str, Any]:
            file = ok(api.upload(content))["id"]
            return {"kind": "generation", "model": "stand-in", "input_file": file}

        return ask

    def test_it_is_priced_and_stands_where_the_jobs_items_would(
        self, api: Api, tenant: Tenant, asked: Any
    ) -> None:
        measure(tenant.id, 4, 1.5)
        api.submit(*[{}] * 5)
        job = asked(b'\xef\xbb\xbf{"params": {"n": 3}}\r\n\n{"custom_id": "b", "params": {"n": 2}}')
        before = rows()

        told = ok(api.post(JOBS, {**job, "dry_run": True}, idempotency_key="a"))

        assert (told["items"], told["compute_seconds"], told["basis"]) == (2, 7.5, 4)
        assert (told["position"], told["warnings"]) == (7, [])
        assert rows() == before
        real = ok(api.post(JOBS, job, idempotency_key="a"), 202)
        drain(Lane.LIGHT)
        real = ok(api.get(f"{JOBS}/{real['id']}"))
        assert (real["counts"]["total"], real["position"]) == (2, 7)
        assert_sound()

    @pytest.mark.parametrize(
        "content",
        [
            b'{"params": {}}\n{"params": {"n": 0}}\n{"params": {"seconds": 61}}',
            b'{"params": {}}\n\n{"params": {}, "colour": "red"}',
            b'{"custom_id": "a", "params": {}}\n{"custom_id": "a", "params": {}}',
            b'{"params": {}}\nnot JSON',
            b'{"params": {"seed": "\xff"}}',
            b"[]",
            b"\n\n",
        ],
    )
    def test_it_is_refused_for_what_a_worker_would_refuse_the_job_for(
        self, api: Api, asked: Any, content: bytes
    ) -> None:
        job = asked(content)
        before = rows()
        error = refused(api.post(JOBS, {**job, "dry_run": True}), 400)
        assert rows() == before

        real = ok(api.post(JOBS, job), 202)
        drain(Lane.LIGHT)

        found = ok(api.get(f"{JOBS}/{real['id']}"))["error"]
        assert (error["message"], error["param"]) == (found["message"], found["param"])

    def test_quotas_and_budgets_refuse_it_for_all_its_lines(
        self, api: Api, tenant: Tenant, asked: Any
    ) -> None:
        measure(tenant.id, 1, 2.0)
        with transaction() as session:
            limits = {"max_queued": 3, "max_compute_seconds": 7}
            tenants.change_tenant(session, tenant.name, limits)
        lines = b'{"params": {}}\n'

        assert ok(api.post(JOBS, {**asked(lines * 2), "dry_run": True}))["items"] == 2
        over = api.post(JOBS, {**asked(lines * 3), "dry_run": True})
        assert refused(over, 429)["code"] == "budget_spent"
        over = api.post(JOBS, {**asked(lines * 4), "dry_run": True})
        assert refused(over, 429)["code"] == "queue_full"

    def test_one_that_is_longer_than_a_request_may_be_is_refused_with_the_way_to_go(
        self, api: Api, asked: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = {**asked(b'{"params": {}}\n' * 3), "dry_run": True}
        monkeypatch.setattr("shared.services.lines.MAX_ITEMS", 2)
        error = refused(api.post(JOBS, job), 400)
        assert (error["param"], "shorter file" in error["message"]) == ("dry_run", True)

        large = {**asked(b'{"params": {}}' + b" " * 300), "dry_run": True}
        monkeypatch.setenv("ATELIER_BODY_LIMIT", "300")
        forget_settings()
        assert refused(api.post(JOBS, large), 400)["param"] == "dry_run"

    def test_another_tenants_file_is_not_found(self, api: Api, stranger: Api, asked: Any) -> None:
        job = asked(b'{"params": {}}')

        assert refused(stranger.post(JOBS, {**job, "dry_run": True}), 404)["param"] == "input_file"


class TestWarnings:
    """What acceptance writes into a job, a dry run shows."""

    @pytest.fixture
    def warned(self, api: Api) -> Any:
        """Gives the warnings of a job, which a dry run must have shown."""

        def submit(*params: dict[str, Any], **fields: Any) -> list[str]:
            shown = estimate(api, *params, **fields)["warnings"]
            job = ok(api.post(JOBS, body(*params, **fields)), 202)
            assert whenever(shown[: len(job["warnings"])]) == whenever(job["warnings"])
            assert ok(api.get(f"{JOBS}/{job['id']}"))["warnings"] == job["warnings"]
            return job["warnings"]

        return submit

    def test_most_jobs_have_none(self, warned: Any) -> None:
        assert warned({}) == []

    def test_a_model_of_a_demos_size_says_so(self, warned: Any) -> None:
        execute("""UPDATE model_versions SET card = '{"demo_sized": true}'""")

        assert warned({}) == ["This model is of a demo's size: it was trained only for minutes."]

    def test_a_deadline_that_is_too_near_for_the_workers_there_are(
        self, tenant: Tenant, warned: Any
    ) -> None:
        measure(tenant.id, 1, 60.0)
        deadline = in_seconds(100)

        assert warned({}, deadline=deadline) == []
        (warning,) = warned({}, {}, deadline=deadline)

        assert "expected to take 120 compute seconds of 1 worker:" in warning
        execute(
            "INSERT INTO workers (name, lanes, device) VALUES "
            "('a', '{text}', 'cpu'), ('b', '{text,light}', 'cpu'), ('c', '{image}', 'cpu')"
        )
        assert warned({}, {}, deadline=deadline) == []

    def test_a_file_is_warned_of_once_its_lines_are_read(self, api: Api, tenant: Tenant) -> None:
        measure(tenant.id, 1, 60.0)
        file = ok(api.upload(b'{"params": {}}\n' * 3))["id"]
        asked = {"kind": "generation", "model": "stand-in", "input_file": file}
        job = ok(api.post(JOBS, {**asked, "deadline": in_seconds(100)}), 202)
        assert job["warnings"] == []

        drain(Lane.LIGHT)

        (warning,) = ok(api.get(f"{JOBS}/{job['id']}"))["warnings"]
        assert "180 compute seconds" in warning


def in_seconds(seconds: int) -> int:
    return int(time.time()) + seconds
