"""Who may call: keys that are missing, wrong, revoked, expired, or of another scope."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.db import transaction
from shared.services import tenants
from shared.services.tenants import KEY_PREFIX
from shared.states import Scope
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, new_key, ok, refused


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Basic YTpi", f"Bearer {KEY_PREFIX}unknown", "Bearer \xe4"],
)
def test_without_a_good_key_the_answer_is_401_and_says_how_to_send_one(
    anonymous: Api, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}

    response = anonymous.request("GET", JOBS, headers=headers)

    error = refused(response, 401)
    assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_key_with_one_character_changed_is_refused(api: Api) -> None:
    assert api.key is not None
    changed = api.key[:-1] + ("0" if api.key[-1] != "0" else "1")

    refused(api.with_key(changed).get(JOBS), 401)


def test_the_scheme_may_be_written_in_small_letters(anonymous: Api, api_key: str) -> None:
    ok(anonymous.request("GET", JOBS, headers={"Authorization": f"bearer {api_key}"}))


def test_an_expired_key_is_refused(anonymous: Api, tenant: Tenant) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    with transaction() as session:
        _, key = tenants.add_key(session, tenant.id, "old", [Scope.ADMIN], expires_at=past)

    refused(anonymous.with_key(key).get(JOBS), 401)


def test_a_key_that_expires_later_is_good(anonymous: Api, tenant: Tenant) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    with transaction() as session:
        _, key = tenants.add_key(session, tenant.id, "new", [Scope.READ], expires_at=later)

    ok(anonymous.with_key(key).get(JOBS))


def test_a_key_that_only_reads_cannot_submit_and_is_told_the_scope(
    anonymous: Api, tenant: Tenant, stand_in: str
) -> None:
    reader = anonymous.with_key(new_key(tenant.id, [Scope.READ]))

    error = refused(reader.post(JOBS, {"kind": "generation", "model": stand_in}), 403)

    assert (error["type"], error["code"]) == ("permission_error", "insufficient_scope")
    assert "generate" in error["message"]


@pytest.mark.parametrize(
    ("scope", "kind"),
    [(Scope.TRAIN, "generation"), (Scope.GENERATE, "training"), (Scope.GENERATE, "evaluation")],
)
def test_a_job_of_a_kind_needs_that_kinds_scope(
    anonymous: Api, tenant: Tenant, stand_in: str, scope: Scope, kind: str
) -> None:
    client = anonymous.with_key(new_key(tenant.id, [scope]))

    error = refused(client.post(JOBS, {"kind": kind, "model": stand_in}), 403)

    assert error["code"] == "insufficient_scope"


def test_a_key_cannot_end_or_repeat_a_job_that_it_could_not_submit(
    api: Api, anonymous: Api, tenant: Tenant, stand_in: str
) -> None:
    body = {"kind": "generation", "model": stand_in, "items": [{"params": {}}]}
    job = ok(api.post(JOBS, body), 202)
    client = anonymous.with_key(new_key(tenant.id, [Scope.TRAIN]))

    for action in ("cancel", "retry"):
        error = refused(client.post(f"{JOBS}/{job['id']}/{action}"), 403)
        assert "generate" in error["message"]


def test_the_key_is_checked_before_the_body(anonymous: Api) -> None:
    refused(anonymous.post(JOBS, {"nonsense": True}), 401)
