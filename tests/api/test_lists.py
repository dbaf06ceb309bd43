"""Every list has the one shape, comes in pages, and takes ids of its own noun alone. The lists are
those of the description, so none can be missing.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from shared.tables.tenant import Tenant
from tests.api.client import Api, ok, refused, walk
from tests.ledger import execute
from tests.security.routes import Route, guarded
from tests.security.things import make

WITHOUT_PAGES = {"/v1/models": "OpenAI's clients take the first page for the whole list"}

FREE_IDS = {
    "/api/v1/families": "a name",
    "/api/v1/failures/reasons": "a code, or what errors have in common",
}
"""Lists whose ids have no form of their own: one that is not there is refused with 404."""

FIELDS = {"object", "data", "first_id", "last_id", "has_more"}

pytestmark = pytest.mark.usefixtures("stand_in")


@pytest.fixture
def lists(app: Flask) -> list[Route]:
    """Every route that answers a list."""
    found = [route for route in guarded(app) if route.method == "GET" and is_list(route)]
    assert len(found) > 15, "the lists were not found"
    return found


def is_list(route: Route) -> bool:
    content = route.operation["responses"].get("200", {}).get("content", {})
    name = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    schema = route.document["components"]["schemas"].get(name.rpartition("/")[2], {})
    return schema.get("properties", {}).get("object", {}).get("const") == "list"


def parameters(route: Route) -> dict[str, Any]:
    return {each["name"]: each["schema"] for each in route.operation.get("parameters", [])}


def test_every_list_is_described_with_the_same_fields_and_pages(lists: list[Route]) -> None:
    for route in lists:
        name = route.operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        schema = route.document["components"]["schemas"][name.rpartition("/")[2]]
        assert set(schema["properties"]) == FIELDS, route
        paged = {"after", "before", "limit", "order"} <= parameters(route).keys()
        assert paged == (route.rule not in WITHOUT_PAGES), route


def test_every_list_answers_a_page_of_one_and_refuses_what_is_no_id_of_its_noun(
    lists: list[Route], api: Api
) -> None:
    things = make(api)
    for route in lists:
        path = route.path(things[route.noun]) if route.has_id else route.rule
        if route.rule in WITHOUT_PAGES:
            assert set(ok(api.get(path))) == FIELDS
            continue

        page = ok(api.get(path, limit=1))
        assert set(page) == FIELDS, route
        assert len(page["data"]) <= 1, route
        for field in ("after", "before"):
            for wrong in ("nope", f"tenant_{'0' * 26}"):
                status = 404 if route.rule in FREE_IDS else 400
                error = refused(api.get(path, **{field: wrong}), status)
                assert error["param"] == field, route


def pages_of(api: Api, path: str, **query: Any) -> Iterator[list[str]]:
    return walk(lambda **page: api.get(path, **query, **page))


class TestShortLists:
    """Lists that are here as a whole are read in pages as all others are."""

    def test_families_come_by_name(self, api: Api) -> None:
        names = ["causal_lm", "conditional_gan", "stand_in"]
        path = "/api/v1/families"

        assert list(pages_of(api, path, limit=2)) == [names[:2], names[2:]]
        assert list(pages_of(api, path, limit=3, order="desc")) == [names[::-1]]
        before = ok(api.get(path, before="stand_in", limit=1))
        assert ([each["id"] for each in before["data"]], before["has_more"]) == ([names[1]], True)
        between = ok(api.get(path, after="causal_lm", before="stand_in"))
        assert [each["id"] for each in between["data"]] == [names[1]]

    def test_reasons_come_by_how_many_items_failed_of_them(self, api: Api) -> None:
        api.run({"fault": "refuse"}, {"fault": "refuse"}, {"fault": "refuse"})
        execute("UPDATE failures SET reason = 'crashed' WHERE id = 1")
        path = "/api/v1/failures/reasons"

        assert list(pages_of(api, path, limit=1)) == [["invalid_value"], ["crashed"]]
        assert list(pages_of(api, path, order="asc")) == [["crashed", "invalid_value"]]
        error = refused(api.get(path, after="none"), 404)
        assert error["message"] == "after: this list has no 'none'"


def test_keys_come_in_pages(api: Api) -> None:
    path = "/api/v1/keys"
    made = [ok(api.post(path, {"name": "a", "scopes": ["read"]}), 201)["id"] for _ in range(4)]

    assert [len(page) for page in pages_of(api, path, limit=2)] == [2, 2, 1]
    assert [id_ for page in pages_of(api, path, limit=2) for id_ in page][:4] == made[::-1]


def test_the_list_of_models_for_openais_clients_holds_all_of_them(api: Api, tenant: Tenant) -> None:
    execute(f"""
        INSERT INTO models (id, tenant_id, name, family, modality, promoted_version)
        SELECT 'model_' || n, '{tenant.id}', 'model-' || n, 'stand_in', 'text', 1
        FROM generate_series(1, 1200) AS n
    """)

    listed = ok(api.get("/v1/models"))

    assert len({model["id"] for model in listed["data"]}) == 1201
    assert not listed["has_more"]
