"""Every route is guarded, and refuses what it should. The cases come from the application's own
map and from its OpenAPI document, so none can be missing.
"""

import re
from typing import Any

import pytest
from flask import Flask, request

from api import auth
from api.requests import large_body
from shared.states import Scope
from shared.tables.tenant import Tenant
from tests.api.client import Api, new_key, refused
from tests.security.routes import FORM, Route, everything
from tests.security.things import FILTERS, NAMING_NOTHING, NOBODYS, REFERRING, make, still_there
from tests.settings import forget_settings

PUBLIC = {
    "/",
    "/openapi.json",
    "/docs",
    "/docs/swagger/<path:filename>",
    "/api/v1/health/live",
    "/api/v1/health/ready",
    "/metrics",
    "/api/v1/outputs/<string:id>/content/<string:link>",
    "/dashboard/static/<path:filename>",
    "/bootstrap/static/<path:filename>",
}
"""What anybody may see. A new public route must be added here, on purpose."""

PAGES = "/dashboard/"
LIMIT = 1000
_FORM_OVERHEAD = 100_000
"""What a form may have beside its file, and more."""


def test_every_route_is_public_on_purpose_or_a_page_or_names_its_scopes(app: Flask) -> None:
    kinds = {
        rule: auth.access_of(app, endpoint)
        for _, rule, endpoint in everything(app)
        if not rule.startswith(tuple(auth.PUBLIC_PREFIXES))
    }

    unsaid = [rule for rule, access in kinds.items() if access is None]
    public = {rule for rule, access in kinds.items() if access == auth.PUBLIC}
    below = {rule for _, rule, _ in everything(app) if rule.startswith(tuple(auth.PUBLIC_PREFIXES))}
    pages = [rule for rule, access in kinds.items() if access == auth.SESSION]

    assert [rule for rule in unsaid if rule not in PUBLIC] == []
    assert public | below == PUBLIC
    assert [rule for rule in pages if not rule.startswith(PAGES)] == []


def test_without_a_key_every_route_answers_401(routes: list[Route], anonymous: Api) -> None:
    for route in routes:
        error = refused(route.send(anonymous), 401)
        assert error["code"] == "invalid_api_key", route


def test_with_a_key_of_every_other_scope_every_route_answers_403(
    routes: list[Route], anonymous: Api, tenant: Tenant
) -> None:
    for route in routes:
        others = [scope for scope in Scope if scope not in {*route.scopes, Scope.ADMIN}]
        client = anonymous.with_key(new_key(tenant.id, others))
        error = refused(route.send(client), 403)
        assert error["code"] == "insufficient_scope", route


@pytest.mark.usefixtures("stand_in")
def test_every_route_with_an_id_answers_404_for_another_tenants_thing(
    routes: list[Route], api: Api, stranger: Api
) -> None:
    things = make(api)
    own = [route for route in routes if route.is_served and route.noun not in NOBODYS]
    with_id = [route for route in own if route.has_id]
    assert len(with_id) > 20

    for route in with_id:
        assert route.noun in things, f"add one of {route.noun} to tests/security/things.py"
        assert refused(route.send(stranger, things[route.noun]), 404), route

    for noun, id_ in things.items():
        assert still_there(api, noun, id_), noun


@pytest.mark.usefixtures("stand_in")
def test_every_field_that_names_a_thing_answers_404_for_another_tenants(
    routes: list[Route], api: Api, stranger: Api
) -> None:
    things = make(api)
    naming = {(route.rule, field) for route in routes for field in fields_that_name(route, things)}

    untried = naming - FILTERS - NAMING_NOTHING - REFERRING.keys()
    assert untried == set(), "add these to tests/security/things.py"

    for (path, field), body in REFERRING.items():
        error = refused(stranger.post(path, body(things)), 404)
        assert error["param"].partition("[")[0] == field, path
    assert stranger.get("/api/v1/jobs").get_json()["data"] == []


def fields_that_name(route: Route, things: dict[str, str]) -> list[str]:
    """The fields of a route's JSON body that hold an id or a name, by what they are called."""
    if route.media_type in {None, FORM}:
        return []
    schema = route.document["components"]["schemas"][route.schema["$ref"].rpartition("/")[2]]
    nouns = {noun.rpartition("/")[2].removesuffix("s") for noun in things} | {"item", "dataset"}
    named = re.compile(rf"(?:.*_)?(?:{'|'.join(nouns)})s?(?:_ids?)?")
    holds_ids = [name for name, each in schema["properties"].items() if may_hold_text(each)]
    return [name for name in holds_ids if named.fullmatch(name)]


def may_hold_text(schema: dict[str, Any]) -> bool:
    """Whether a value may be a text or a list of texts."""
    choices = schema.get("anyOf", [schema])
    texts = [each.get("items", each).get("type") for each in choices]
    return "string" in texts


def test_every_route_refuses_an_unknown_field_of_its_query_by_name(
    routes: list[Route], api: Api
) -> None:
    for route in (route for route in routes if route.is_served):
        response = api.request(route.method, f"{route.path()}?surplus=1")
        error = refused(response, 400)
        assert "surplus: there is no such field" in error["message"], route


def test_every_route_refuses_an_unknown_field_of_its_body_by_name(
    routes: list[Route], api: Api
) -> None:
    for route in (route for route in routes if route.is_served):
        error = refused(route.send(api, surplus="surplus"), 400)
        said = (error["code"], error["param"], error["message"])
        assert said == ("unknown_field", "surplus", "surplus: there is no such field"), route


def test_every_post_answers_an_idempotency_key_or_refuses_it_by_name(
    routes: list[Route], api: Api
) -> None:
    posts = [route for route in routes if route.is_served and route.method == "POST"]
    refusing = [route for route in posts if not route.takes_key]
    assert 0 < len(refusing) < len(posts)

    for route in refusing:
        response = api.request("POST", route.path(), headers={"Idempotency-Key": "a"})
        assert refused(response, 400)["param"] == "Idempotency-Key", route


def test_every_route_that_no_model_serves_says_so_whatever_is_sent(
    routes: list[Route], api: Api
) -> None:
    unserved = [route for route in routes if not route.is_served]

    assert unserved
    for route in unserved:
        error = refused(route.send(api, surplus="surplus"), 400)
        assert error["code"] == "endpoint_not_served", route


def test_every_route_refuses_a_body_over_the_limit(
    app: Flask, routes: list[Route], api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_BODY_LIMIT", str(LIMIT))
    monkeypatch.setenv("ATELIER_FILE_LIMIT", str(LIMIT))
    forget_settings()

    for route in routes:
        limit = largest(app, route)
        surplus = _FORM_OVERHEAD if route.media_type == FORM else 1
        error = refused(route.send_bytes(api, limit + surplus), 413)
        assert error["code"] == "too_large", route
        assert str(limit) in error["message"], route


def largest(app: Flask, route: Route) -> int:
    """How many bytes a route takes: of a body, or of the file of a form."""
    if route.media_type != FORM:
        return LIMIT
    with app.test_request_context(route.path(), method=route.method, content_type=FORM):
        large = large_body(request)
    assert large is not None, f"{route} takes a form whose size is not known"
    return large.most_bytes
