"""Keys: shown once, kept as a hash, revoked at once."""

import time
from typing import Any

import pytest
from sqlalchemy import text

from shared.db import transaction
from tests.api.client import JOBS, Api, ok, refused

KEYS = "/api/v1/keys"


def make(api: Api, **fields: Any) -> dict[str, Any]:
    response = api.post(KEYS, {"name": "app", "scopes": ["read"], **fields})
    assert response.headers["Cache-Control"] == "no-store"
    return ok(response, 201)


def test_a_new_key_works_and_may_do_what_its_scopes_say(api: Api) -> None:
    made = make(api)

    client = api.with_key(made["key"])

    assert (made["object"], made["name"], made["scopes"]) == ("key", "app", ["read"])
    ok(client.get(JOBS))
    refused(client.get(KEYS), 403)


def test_its_secret_is_shown_once_and_never_stored(api: Api) -> None:
    made = make(api)

    listed = ok(api.get(KEYS))["data"]
    with transaction() as session:
        stored = str(session.execute(text("SELECT * FROM keys")).all())

    assert made["id"] in [key["id"] for key in listed]
    assert all("key" not in key for key in listed)
    assert made["key"].startswith(made["hint"])
    assert made["key"] not in stored
    assert made["hint"] in stored


def test_a_secret_cannot_be_asked_for_again_by_an_idempotency_key(api: Api) -> None:
    body = {"name": "app", "scopes": ["read"]}

    error = refused(api.post(KEYS, body, idempotency_key="a"), 400)

    assert error["param"] == "Idempotency-Key"


def test_a_revoked_key_is_refused_at_its_next_use(api: Api) -> None:
    made = make(api)
    client = api.with_key(made["key"])
    ok(client.get(JOBS))

    response = api.delete(f"{KEYS}/{made['id']}")

    assert (response.status_code, response.data) == (204, b"")
    refused(client.get(JOBS), 401)
    shown = next(key for key in ok(api.get(KEYS))["data"] if key["id"] == made["id"])
    assert shown["revoked_at"] >= shown["created_at"]
    refused(api.delete(f"{KEYS}/{made['id']}"), 404)


def test_a_key_is_refused_from_the_moment_that_it_ends(api: Api) -> None:
    made = make(api, expires_at=int(time.time()) + 3600)
    client = api.with_key(made["key"])
    ok(client.get(JOBS))
    assert made["expires_at"] > made["created_at"]

    with transaction() as session:
        session.execute(text("UPDATE keys SET expires_at = now()"))

    refused(client.get(JOBS), 401)


def test_the_list_tells_when_a_key_was_used(api: Api) -> None:
    made = make(api)
    assert made["last_used_at"] is None
    ok(api.with_key(made["key"]).get(JOBS))

    shown = ok(api.get(KEYS))["data"][0]

    assert shown["last_used_at"] is not None


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes[0]"),
        ({"scopes": "read"}, "scopes"),
        ({"tenant_id": "x"}, "tenant_id"),
        ({"expires_at": 1_000_000_000}, "expires_at"),
        ({"expires_at": 10**18}, "expires_at"),
    ],
)
def test_a_bad_key_is_refused_naming_the_field(
    api: Api, change: dict[str, Any], param: str
) -> None:
    error = refused(api.post(KEYS, {"name": "app", "scopes": ["read"], **change}), 400)

    assert error["param"] == param
    assert len(ok(api.get(KEYS))["data"]) == 1


def test_another_tenants_keys_are_neither_seen_nor_revoked(api: Api, stranger: Api) -> None:
    made = make(api)

    assert made["id"] not in [key["id"] for key in ok(stranger.get(KEYS))["data"]]
    refused(stranger.delete(f"{KEYS}/{made['id']}"), 404)
    ok(api.with_key(made["key"]).get(JOBS))
