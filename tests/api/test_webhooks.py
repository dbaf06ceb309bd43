"""Webhooks over HTTP: registered, rotated, deleted; their deliveries listed and replayed."""

import pytest
from sqlalchemy import text

from shared.db import transaction
from shared.states import Scope
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, new_key, ok, refused
from tests.ledger import execute

pytestmark = pytest.mark.usefixtures("stand_in")

WEBHOOKS = "/api/v1/webhooks"
URL = "https://hooks.example.com/atelier"


def register(api: Api, **fields: object) -> dict:
    return ok(api.post(WEBHOOKS, {"url": URL, **fields}), 201)


def test_a_secret_is_shown_at_registration_and_never_again(api: Api) -> None:
    made = register(api)

    assert made["secret"].startswith("whsec_")
    assert (made["url"], made["events"], made["disabled_at"]) == (URL, ["*"], None)
    found = ok(api.get(f"{WEBHOOKS}/{made['id']}"))
    assert "secret" not in found
    assert ok(api.get(WEBHOOKS))["data"] == [found]


def test_a_rotation_gives_another_secret_and_says_how_long_both_hold(api: Api) -> None:
    made = register(api)

    rotated = ok(api.post(f"{WEBHOOKS}/{made['id']}/rotate"))

    assert rotated["secret"] != made["secret"]
    assert rotated["old_secret_until"] - made["created_at"] == pytest.approx(24 * 3600, abs=60)


def test_a_repeated_rotation_gives_the_secret_of_the_first_and_the_old_one_still_signs(
    api: Api,
) -> None:
    made = register(api)
    path = f"{WEBHOOKS}/{made['id']}/rotate"

    first = ok(api.post(path, idempotency_key="a"))

    assert ok(api.post(path, idempotency_key="a")) == first
    with transaction() as session:
        old = session.execute(text("SELECT old_secret FROM webhooks")).scalar_one()
        kept = session.execute(text("SELECT answer::text FROM idempotency")).scalar_one()
    assert old == made["secret"]
    assert first["secret"] not in kept
    assert ok(api.post(path, idempotency_key="b"))["secret"] != first["secret"]


def test_a_deleted_webhook_is_told_of_nothing(api: Api) -> None:
    made = register(api)
    assert api.delete(f"{WEBHOOKS}/{made['id']}").status_code == 204

    api.run({})

    refused(api.get(f"{WEBHOOKS}/{made['id']}/deliveries"), 404)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://hooks.example.com", "https"),
        ("https://10.0.0.1/x", "not, or not only, a public address"),
        ("https://user:pass@hooks.example.com", "password"),
        ("not a url", "space"),
    ],
)
def test_a_bad_address_is_refused_by_name(api: Api, url: str, said: str) -> None:
    error = refused(api.post(WEBHOOKS, {"url": url}), 400)

    assert error["param"] == "url"
    assert said in error["message"]


def test_an_event_that_does_not_exist_is_refused(api: Api) -> None:
    error = refused(api.post(WEBHOOKS, {"url": URL, "events": ["job.eaten"]}), 400)

    assert error["param"] == "events[0]"


def test_a_job_may_name_a_webhook_that_hears_of_nothing_else(api: Api) -> None:
    quiet = register(api, events=[])
    api.run({})
    job = api.run({}, webhook=quiet["id"])

    assert job["webhook"] == quiet["id"]
    (delivery,) = ok(api.get(f"{WEBHOOKS}/{quiet['id']}/deliveries"))["data"]
    assert (delivery["type"], delivery["state"]) == ("job.completed", "pending")


def test_a_job_that_names_a_webhook_that_is_not_there_is_refused(api: Api) -> None:
    body = {"kind": "generation", "model": "stand-in", "items": [{"params": {}}]}

    error = refused(api.post(JOBS, {**body, "webhook": "webhook_x"}), 404)

    assert error["param"] == "webhook"


def test_a_delivery_is_replayed_under_its_events_id(api: Api) -> None:
    made = register(api)
    api.run({})
    (delivery,) = ok(api.get(f"{WEBHOOKS}/{made['id']}/deliveries"))["data"]

    again = ok(api.post(f"{WEBHOOKS}/{made['id']}/deliveries/{delivery['id']}/replay"))

    assert (again["event"], again["state"]) == (delivery["event"], "pending")
    refused(api.post(f"{WEBHOOKS}/{made['id']}/deliveries/delivery_99/replay"), 404)


def test_a_repeated_replay_sends_the_event_once_more_and_not_twice(api: Api) -> None:
    made = register(api)
    api.run({})
    (delivery,) = ok(api.get(f"{WEBHOOKS}/{made['id']}/deliveries"))["data"]
    path = f"{WEBHOOKS}/{made['id']}/deliveries/{delivery['id']}/replay"

    first = ok(api.post(path, idempotency_key="a"))
    execute("UPDATE deliveries SET state = 'delivered', delivered_at = now()")

    assert ok(api.post(path, idempotency_key="a")) == first
    (delivery,) = ok(api.get(f"{WEBHOOKS}/{made['id']}/deliveries"))["data"]
    assert delivery["state"] == "delivered"


def test_only_an_admin_key_registers_webhooks(api: Api, tenant: Tenant) -> None:
    reader = api.with_key(new_key(tenant.id, [Scope.READ, Scope.GENERATE]))

    refused(reader.post(WEBHOOKS, {"url": URL}), 403)
    assert ok(reader.get(WEBHOOKS))["data"] == []


def test_a_repeated_registration_tells_the_secret_again_of_which_no_copy_was_kept(
    api: Api,
) -> None:
    first = ok(api.post(WEBHOOKS, {"url": URL}, idempotency_key="a"), 201)

    assert ok(api.post(WEBHOOKS, {"url": URL}, idempotency_key="a"), 201) == first
    with transaction() as session:
        kept = session.execute(text("SELECT answer::text FROM idempotency")).scalar_one()
    assert first["id"] in kept
    assert first["secret"] not in kept
