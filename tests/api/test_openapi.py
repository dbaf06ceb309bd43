"""The published description of the API: true, complete, and generated from the code."""

import re
from typing import Any

import pytest
from flask import Flask

from shared.states import JobState
from tests.api.client import Api, ok


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
            assert ("security" in operation) == ("/health/" not in path), named
            assert operation["responses"], named


def test_every_reference_leads_to_a_schema(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    named = set(re.findall(r"#/components/schemas/([\w.-]+)", str(document)))

    assert len(named) > 20
    assert named - set(schemas) == set()


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
