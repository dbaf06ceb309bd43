"""The published description of the API: true, complete, and generated from the code."""

import inspect
import re
from typing import Any

import pytest
from flask import Flask

from shared.states import JobState
from tests.api.client import Api, ok

PUBLIC = {
    "/api/v1/health/live",
    "/api/v1/health/ready",
    "/api/v1/outputs/{id}/content/{link}",
}


@pytest.fixture
def document(anonymous: Api) -> dict[str, Any]:
    """The description, as anybody may fetch it."""
    return ok(anonymous.get("/openapi.json"))


def test_it_names_every_route_of_the_api_and_no_other(app: Flask, document: dict[str, Any]) -> None:
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }

    served = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith(("/v1/", "/api/"))
    }
    assert described == served


def test_every_operation_has_a_summary_an_answer_and_a_key_unless_public(
    document: dict[str, Any],
) -> None:
    assert document["openapi"] == "3.1.0"
    for path, item in document["paths"].items():
        for method, operation in item.items():
            named = f"{method} {path}"
            assert operation["summary"], named
            assert operation["tags"], named
            assert ("security" in operation) == (path not in PUBLIC), named
            assert operation["responses"], named


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every operation, by `POST /api/v1/jobs`."""
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    named = set(re.findall(r"#/components/(\w+)/([\w.-]+)", str(document)))

    assert len(named) > 40
    assert [each for each in named if each[1] not in document["components"][each[0]]] == []


def test_every_operation_has_an_id_of_its_own(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for operation in operations(document).values()]

    assert len(set(ids)) == len(ids)
    assert [id_ for id_ in ids if not re.fullmatch("[a-z_]+", id_)] == []


def test_every_tag_is_described(document: dict[str, Any]) -> None:
    described = {tag["name"] for tag in document["tags"] if tag.get("description")}

    used = {tag for operation in operations(document).values() for tag in operation["tags"]}
    assert used - described == set()


def test_every_operation_says_in_which_errors_it_may_end(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        statuses = set(operation["responses"])
        assert {"500", "503"} <= statuses, name
        assert ({"401", "403", "429"} <= statuses) == ("security" in operation), name
        assert ("404" in statuses) or "{" not in name, name
        assert ("400" in statuses) == ("security" in operation), name
        assert ({"413", "415"} <= statuses) == ("requestBody" in operation), name
        assert "default" not in statuses, name


def test_every_error_has_the_one_shape(document: dict[str, Any]) -> None:
    for answer in document["components"]["responses"].values():
        schema = answer["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}
        assert "x-request-id" in answer["headers"]


def test_every_list_names_what_its_rows_are(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    lists = [name for name in schemas if "has_more" in schemas[name].get("properties", {})]

    assert {"JobList", "OutputList", "EventList", "BatchList"} <= set(lists)
    for name in lists:
        assert "$ref" in schemas[name]["properties"]["data"]["items"], name


def test_an_idempotency_key_is_described_where_it_is_answered(
    app: Flask, document: dict[str, Any]
) -> None:
    described = {
        operation["operationId"]
        for operation in operations(document).values()
        if "Idempotency-Key" in {each["name"] for each in operation.get("parameters", ())}
    }

    answering = {
        view.__name__
        for view in app.view_functions.values()
        if {"create_once", "create_stored", "once", "call", "held_key"}
        & set(inspect.unwrap(view).__code__.co_names)
    }
    assert len(answering) > 5
    assert described == answering


def test_the_server_is_where_the_document_was_asked_for(document: dict[str, Any]) -> None:
    assert document["servers"] == [{"url": "http://localhost"}]


def test_bodies_say_that_unknown_fields_are_refused(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    bodies = [name for name in schemas if name.endswith("Body")]

    assert {"JobBody", "DatasetBody", "KeyBody", "CompletionBody"} <= set(bodies)
    assert [name for name in bodies if schemas[name].get("additionalProperties") is not False] == []


def test_states_are_listed_as_the_code_has_them(document: dict[str, Any]) -> None:
    assert document["components"]["schemas"]["JobState"]["enum"] == [
        str(state) for state in JobState
    ]


def test_the_page_to_read_it_is_served_without_another_site(anonymous: Api) -> None:
    page = anonymous.get("/docs")

    assert page.status_code == 200
    assert "/openapi.json" in page.text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert addresses
    assert [each for each in addresses if not each.startswith("/")] == []
    assert {anonymous.get(each).status_code for each in addresses} == {200}
