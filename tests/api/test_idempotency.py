"""Idempotency-Key: a request that is sent again makes nothing twice."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from shared.db import transaction
from shared.services import idempotency
from shared.states import Scope
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, new_key, new_tenant, ok, refused, run_queued
from tests.ledger import add_stand_in, execute

FAULT = {"fault": "refuse"}
BODY = {"kind": "generation", "model": "stand-in", "items": [{"params": {"seed": 1}}]}

pytestmark = pytest.mark.usefixtures("stand_in")


def number_of_jobs(api: Api) -> int:
    return len(ok(api.get(JOBS))["data"])


def test_the_same_key_and_body_give_the_same_answer_and_one_job(api: Api) -> None:
    first = api.post(JOBS, BODY, idempotency_key="a")

    second = api.post(JOBS, BODY, idempotency_key="a")

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.get_json() == second.get_json()
    assert number_of_jobs(api) == 1


def test_the_order_of_fields_makes_no_other_request(api: Api) -> None:
    first = ok(api.post(JOBS, BODY, idempotency_key="a"), 202)

    turned = dict(reversed(BODY.items()))

    assert ok(api.post(JOBS, turned, idempotency_key="a"), 202) == first


def test_the_answer_is_the_first_one_even_after_the_job_was_cancelled(api: Api) -> None:
    first = ok(api.post(JOBS, BODY, idempotency_key="a"), 202)
    ok(api.post(f"{JOBS}/{first['id']}/cancel"))

    assert ok(api.post(JOBS, BODY, idempotency_key="a"), 202) == first


def test_the_same_key_with_another_body_is_refused(api: Api) -> None:
    ok(api.post(JOBS, BODY, idempotency_key="a"), 202)

    error = refused(api.post(JOBS, {**BODY, "priority": 1}, idempotency_key="a"), 422)

    assert (error["code"], error["param"]) == ("idempotency_key_reused", "Idempotency-Key")
    assert number_of_jobs(api) == 1


def test_without_a_key_the_same_body_makes_two_jobs(api: Api) -> None:
    ok(api.post(JOBS, BODY), 202)
    ok(api.post(JOBS, BODY), 202)

    assert number_of_jobs(api) == 2


def test_a_refused_request_leaves_its_key_free(api: Api) -> None:
    refused(api.post(JOBS, {**BODY, "model": "unknown"}, idempotency_key="a"), 404)

    ok(api.post(JOBS, BODY, idempotency_key="a"), 202)


def test_tenants_do_not_share_keys(api: Api, anonymous: Api) -> None:
    other_id, other_key = new_tenant()
    add_stand_in(other_id)

    mine = ok(api.post(JOBS, BODY, idempotency_key="a"), 202)
    theirs = ok(anonymous.with_key(other_key).post(JOBS, BODY, idempotency_key="a"), 202)

    assert mine["id"] != theirs["id"]


def test_a_replay_is_for_callers_who_might_have_sent_the_first(
    api: Api, anonymous: Api, tenant: Tenant
) -> None:
    ok(api.post(JOBS, BODY, idempotency_key="a"), 202)
    reader = anonymous.with_key(new_key(tenant.id, [Scope.READ]))

    refused(reader.post(JOBS, BODY, idempotency_key="a"), 403)


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_of_a_wrong_length_is_refused(api: Api, key: str) -> None:
    assert refused(api.post(JOBS, BODY, idempotency_key=key), 400)["param"] == "Idempotency-Key"


def test_eight_threads_with_one_key_make_one_job(app: Flask, api: Api) -> None:
    def post(_: int) -> tuple[int, dict[str, Any]]:
        mine = Api(app.test_client(), api.key)
        response = mine.post(JOBS, BODY, idempotency_key="a")
        return response.status_code, response.get_json()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(8)))

    assert number_of_jobs(api) == 1
    (job,) = ok(api.get(JOBS))["data"]
    made = [answer["id"] for status, answer in answers if status == 202]
    waiting = [answer["error"]["code"] for status, answer in answers if status != 202]
    assert made
    assert set(made) == {job["id"]}
    assert set(waiting) <= {"idempotency_key_in_flight"}


class TestRetries:
    """A retry under a key queues nothing again that has failed once more since."""

    def failed_again(self, api: Api, path: str, body: dict[str, Any] | None = None) -> None:
        first = ok(api.post(path, body, idempotency_key="a"))
        run_queued()

        assert ok(api.post(path, body, idempotency_key="a")) == first
        (job,) = ok(api.get(JOBS))["data"]
        assert (job["state"], job["counts"]["queued"]) == ("failed", 0)

    def test_of_a_job(self, api: Api) -> None:
        job = api.run(FAULT)

        self.failed_again(api, f"{JOBS}/{job['id']}/retry")
        ok(api.post(f"{JOBS}/{job['id']}/retry", idempotency_key="b"))

    def test_of_failures(self, api: Api) -> None:
        job = api.run(FAULT)
        path = "/api/v1/failures/retry"

        self.failed_again(api, path, {"job": job["id"]})
        other = {"reason": "invalid_value"}
        refused(api.post(path, other, idempotency_key="a"), 422)
        assert ok(api.post(path, other, idempotency_key="b"))["items"] == 1

    def test_of_a_job_needs_the_scope_of_its_kind_each_time(
        self, api: Api, anonymous: Api, tenant: Tenant
    ) -> None:
        path = f"{JOBS}/{api.run(FAULT)['id']}/retry"
        ok(api.post(path, idempotency_key="a"))
        trainer = anonymous.with_key(new_key(tenant.id, [Scope.TRAIN]))

        refused(trainer.post(path, idempotency_key="a"), 403)


class TestKeyless:
    """The official SDK sends no key, but counts its tries."""

    def test_a_retry_gets_the_answer_of_the_first_try(self, api: Api) -> None:
        first = ok(api.post(JOBS, BODY, x_stainless_retry_count="0"), 202)

        assert ok(api.post(JOBS, BODY, x_stainless_retry_count="1"), 202) == first
        assert ok(api.post(JOBS, BODY, x_stainless_retry_count="2"), 202) == first
        assert number_of_jobs(api) == 1

    def test_two_first_tries_are_two_requests(self, api: Api) -> None:
        ok(api.post(JOBS, BODY, x_stainless_retry_count="0"), 202)
        second = ok(api.post(JOBS, BODY, x_stainless_retry_count="0"), 202)

        assert ok(api.post(JOBS, BODY, x_stainless_retry_count="1"), 202) == second
        assert number_of_jobs(api) == 2

    def test_a_retry_whose_first_try_made_nothing_makes_it(self, api: Api) -> None:
        refused(api.post(JOBS, {**BODY, "model": "unknown"}, x_stainless_retry_count="0"), 404)

        ok(api.post(JOBS, BODY, x_stainless_retry_count="1"), 202)

        assert number_of_jobs(api) == 1

    def test_a_retry_waits_for_an_equal_request_that_is_not_over(self, api: Api) -> None:
        ok(api.post(JOBS, BODY, x_stainless_retry_count="0"), 202)
        with transaction() as session:
            # As the next equal request would hold it.
            session.execute(text("SELECT FROM idempotency FOR UPDATE"))

            error = refused(api.post(JOBS, BODY, x_stainless_retry_count="1"), 409)

        assert error["code"] == "idempotency_key_in_flight"
        assert number_of_jobs(api) == 1

    def test_what_is_undone_forgets_its_own_key_alone(self, tenant: Tenant) -> None:
        first, second = ({"job": each} for each in ("job_1", "job_2"))
        with transaction() as session:
            for told in (first, second):
                again = idempotency.again
                again(session, tenant.id, "a", lambda told=told: (200, told), is_retry=False)
        with transaction() as session:
            idempotency.forget(session, tenant.id, "a", first)
        with transaction() as session:
            kept = idempotency.again(session, tenant.id, "a", lambda: (200, {}), is_retry=True)

        assert kept == (200, second)

    def test_after_some_minutes_a_retry_is_a_new_request(self, api: Api) -> None:
        ok(api.post(JOBS, BODY, x_stainless_retry_count="0"), 202)
        execute("UPDATE idempotency SET created_at = now() - interval '11 minutes'")

        ok(api.post(JOBS, BODY, x_stainless_retry_count="1"), 202)

        assert number_of_jobs(api) == 2

    def test_another_key_of_the_tenant_has_its_own_tries(
        self, api: Api, anonymous: Api, tenant: Tenant
    ) -> None:
        first = ok(api.post(JOBS, BODY, x_stainless_retry_count="0"), 202)
        other = anonymous.with_key(new_key(tenant.id, [Scope.ADMIN]))

        second = ok(other.post(JOBS, BODY, x_stainless_retry_count="1"), 202)

        assert second["id"] != first["id"]
