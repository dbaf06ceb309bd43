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


def rotate(api: Api, key: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return ok(api.post(f"{KEYS}/{key['id']}/rotate", fields), 201)


def shown(api: Api, key: dict[str, Any]) -> dict[str, Any]:
    return next(each for each in ok(api.get(KEYS))["data"] if each["id"] == key["id"])


def test_both_keys_are_good_until_the_overlap_is_over(api: Api) -> None:
    old = make(api, name="shop", scopes=["read", "generate"])

    new = rotate(api, old)

    assert (new["name"], new["scopes"]) == ("shop", ["read", "generate"])
    assert (new["expires_at"], new["last_used_at"]) == (None, None)
    assert shown(api, old)["expires_at"] == pytest.approx(time.time() + 86_400, abs=60)
    for key in (old, new):
        ok(api.with_key(key["key"]).get(JOBS))
    with transaction() as session:
        session.execute(
            text("UPDATE keys SET expires_at = now() WHERE id = :id"), {"id": old["id"]}
        )
    refused(api.with_key(old["key"]).get(JOBS), 401)
    ok(api.with_key(new["key"]).get(JOBS))


def test_without_an_overlap_the_old_key_is_refused_at_its_next_use(api: Api) -> None:
    old = make(api)

    new = rotate(api, old, overlap_seconds=0)

    refused(api.with_key(old["key"]).get(JOBS), 401)
    ok(api.with_key(new["key"]).get(JOBS))


def test_rotating_never_lets_the_old_key_live_longer_and_the_new_one_as_long_as_it_did(
    api: Api,
) -> None:
    old = make(api, expires_at=int(time.time()) + 3600)

    new = rotate(api, old, overlap_seconds=7 * 86_400)

    assert shown(api, old)["expires_at"] == old["expires_at"]
    assert new["expires_at"] == pytest.approx(time.time() + 3600, abs=60)
    again = rotate(api, old, overlap_seconds=60)
    assert again["key"] != new["key"]
    assert shown(api, old)["expires_at"] == pytest.approx(time.time() + 60, abs=30)


def test_a_key_that_lives_until_the_last_moment_can_be_rotated(api: Api) -> None:
    old = make(api, expires_at=253_402_300_799)

    assert rotate(api, old)["expires_at"] == 253_402_300_799


def test_a_key_may_rotate_itself(api: Api) -> None:
    admin = make(api, scopes=["admin"])

    new = rotate(api.with_key(admin["key"]), admin, overlap_seconds=0)

    ok(api.with_key(new["key"]).get(KEYS))


def test_a_key_that_is_revoked_or_over_or_another_tenants_is_not_rotated(
    api: Api, stranger: Api
) -> None:
    revoked, over, mine = make(api), make(api), make(api)
    api.delete(f"{KEYS}/{revoked['id']}")
    rotate(api, over, overlap_seconds=0)

    refused(api.post(f"{KEYS}/{revoked['id']}/rotate", {}), 404)
    refused(api.post(f"{KEYS}/{over['id']}/rotate", {}), 404)
    refused(stranger.post(f"{KEYS}/{mine['id']}/rotate", {}), 404)
    ok(api.with_key(mine["key"]).get(JOBS))


@pytest.mark.parametrize("seconds", [-1, 7 * 86_400 + 1, "soon"])
def test_a_bad_overlap_is_refused_and_changes_nothing(api: Api, seconds: object) -> None:
    old = make(api)

    error = refused(api.post(f"{KEYS}/{old['id']}/rotate", {"overlap_seconds": seconds}), 400)

    assert error["param"] == "overlap_seconds"
    assert shown(api, old)["expires_at"] is None


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
