"""Every route is guarded. The cases come from the application's own map, so none can be missing."""

import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api import auth
from api.app import create_app
from shared.states import Scope
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, new_key, new_tenant, ok, refused

PUBLIC = {
    "/",
    "/openapi.json",
    "/docs",
    "/docs/swagger",
    "/docs/swagger/<path:filename>",
    "/docs/oauth2-redirect.html",
    "/api/v1/health/live",
    "/api/v1/health/ready",
    "/metrics",
    "/dashboard/static/<path:filename>",
    "/bootstrap/static/<path:filename>",
}
"""What anybody may see. A new public route must be added here, on purpose."""

PAGES = "/dashboard/"
UPLOAD = {"filename": "a", "purpose": "batch", "bytes": 3, "mime_type": "text/plain"}
SIGN_IN = {"security.login", "security.static"}


@pytest.fixture
def app(installation: Path) -> Flask:
    """The application by the test's settings."""
    return create_app()


@pytest.fixture
def anonymous(app: Flask) -> Api:
    """A client without a key."""
    return Api(app.test_client(), None)


def routes(app: Flask) -> list[tuple[str, str, str]]:
    """Method, address and endpoint of every route."""
    return [
        (method, rule.rule, rule.endpoint)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def guarded(app: Flask) -> list[tuple[str, str, frozenset[Scope]]]:
    """Method, address and scopes of every route that asks for a key."""
    found = [
        (method, rule, auth.access_of(app, endpoint)) for method, rule, endpoint in routes(app)
    ]
    return [
        (method, rule, scopes) for method, rule, scopes in found if isinstance(scopes, frozenset)
    ]


def filled(rule: str, value: str = "x") -> str:
    return re.sub(r"<[^>]+>", value, rule)


def test_every_route_is_public_on_purpose_or_a_page_or_names_its_scopes(app: Flask) -> None:
    kinds = {
        rule: auth.access_of(app, endpoint)
        for _, rule, endpoint in routes(app)
        if not rule.startswith(tuple(auth.PUBLIC_PREFIXES))
    }

    unsaid = [rule for rule, access in kinds.items() if access is None]
    public = {rule for rule, access in kinds.items() if access == auth.PUBLIC}
    below = {rule for _, rule, _ in routes(app) if rule.startswith(tuple(auth.PUBLIC_PREFIXES))}
    pages = [rule for rule, access in kinds.items() if access == auth.SESSION]

    assert [rule for rule in unsaid if rule not in PUBLIC] == []
    assert public | below == PUBLIC
    assert [rule for rule in pages if not rule.startswith(PAGES)] == []
    assert len(guarded(app)) > 25


def test_without_a_key_every_guarded_route_answers_401(app: Flask, anonymous: Api) -> None:
    for method, rule, _ in guarded(app):
        error = refused(anonymous.request(method, filled(rule)), 401)
        assert error["code"] == "invalid_api_key", rule


def test_with_a_key_of_other_scopes_every_guarded_route_answers_403(
    app: Flask, anonymous: Api, tenant: Tenant
) -> None:
    for method, rule, scopes in guarded(app):
        others = [scope for scope in Scope if scope not in {*scopes, Scope.ADMIN}]
        client = anonymous.with_key(new_key(tenant.id, others))
        error = refused(client.request(method, filled(rule)), 403)
        assert error["code"] == "insufficient_scope", rule


def test_without_a_session_every_page_leads_to_sign_in(app: Flask, anonymous: Api) -> None:
    pages = [
        (method, rule)
        for method, rule, endpoint in routes(app)
        if auth.access_of(app, endpoint) == auth.SESSION and endpoint not in SIGN_IN
    ]
    assert len(pages) > 10

    for method, rule in pages:
        response = anonymous.request(method, filled(rule, "1"))
        answer = (response.status_code, response.headers.get("Location", ""))
        assert answer[0] == 400 or (answer[0] == 302 and "/dashboard/login" in answer[1]), (
            f"{method} {rule} answered {answer}"
        )


@pytest.mark.usefixtures("stand_in")
def test_every_route_with_an_id_answers_404_for_another_tenants_thing(
    app: Flask, anonymous: Api, api_key: str
) -> None:
    own = anonymous.with_key(api_key)
    things = make_things(own)
    stranger = anonymous.with_key(new_tenant()[1])
    with_id = [(method, rule) for method, rule, _ in guarded(app) if "<" in rule]
    with_id = [(method, rule) for method, rule in with_id if "/families/" not in rule]
    assert len(with_id) > 15

    for method, rule in with_id:
        id_ = things[rule.removeprefix("/api").removeprefix("/v1/").partition("/")[0]]
        response = stranger.request(method, filled(rule, id_), **sent_to(rule))
        refused(response, 404)

    for noun, id_ in things.items():
        assert still_there(own, noun, id_), noun


def sent_to(rule: str) -> dict[str, Any]:
    """What a request must bring along to get as far as its id."""
    if rule.endswith("/parts"):
        return {"data": {"data": (BytesIO(b"abc"), "upload")}}
    bodies = {"promote": {"version": 1}, "complete": {"part_ids": ["part_x"]}}
    return {"json": bodies.get(rule.rpartition("/")[2])}


def make_things(own: Api) -> dict[str, str]:
    """One of everything that has an id, by the noun in its address."""
    file_id = ok(own.upload(b"text\na\n", "rows.csv", "fine-tune"))["id"]
    body = {"name": "rows", "modality": "text", "files": [file_id]}
    dataset = ok(own.post("/api/v1/datasets", body), 202)
    job = own.run({})
    (output,) = ok(own.get(f"{JOBS}/{job['id']}/outputs"))["data"]
    key = ok(own.post("/api/v1/keys", {"name": "a", "scopes": ["read"]}), 201)
    asked = {"input_file_id": file_id, "endpoint": "/v1/completions", "completion_window": "24h"}
    batch = ok(own.post("/v1/batches", asked))
    hook = ok(own.post("/api/v1/webhooks", {"url": "https://hooks.example.com"}), 201)
    return {
        "files": file_id,
        "batches": batch["id"],
        "uploads": ok(own.post("/v1/uploads", UPLOAD))["id"],
        "webhooks": hook["id"],
        "datasets": dataset["id"],
        "jobs": job["id"],
        "outputs": output["id"],
        "keys": key["id"],
        "models": "stand-in",
    }


def still_there(own: Api, noun: str, id_: str) -> bool:
    prefix = "/v1" if noun in {"files", "batches"} else "/api/v1"
    if noun == "uploads":
        path = f"/v1/uploads/{id_}/parts"
        return own.request("POST", path, **sent_to(path)).status_code == 200
    if noun == "keys":
        listed = ok(own.get("/api/v1/keys"))["data"]
        return any(key["id"] == id_ and key["revoked_at"] is None for key in listed)
    return own.get(f"{prefix}/{noun}/{id_}").status_code == 200
