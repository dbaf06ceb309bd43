"""The examples of the description are sent as they are written, and each is accepted."""

from collections.abc import Iterator
from typing import Any

import pytest

from shared.tables.tenant import Tenant
from tests.api.client import Api, ok
from tests.api.furnishing import FAMILIES, furnish
from tests.settings import forget_settings

FIRST = {
    "/api/v1/datasets",
    "/api/v1/jobs",
    "/api/v1/keys",
    "/api/v1/webhooks",
    "/v1/batches",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/images/generations",
}
"""What people do first."""


@pytest.fixture
def furnished(api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> Api:
    """A client of an installation that has what the examples name, and no worker."""
    monkeypatch.setenv("ATELIER_WAIT_SECONDS", "0.1")
    monkeypatch.setenv("ATELIER_FAMILIES", FAMILIES)
    forget_settings()
    furnish(api, tenant.id)
    return api


def examples(document: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Method, path and body of every example."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            schema = document["components"]["schemas"][content["schema"]["$ref"].split("/")[-1]]
            for body in schema.get("examples", []):
                yield method.upper(), path, body


def test_every_example_is_accepted_as_it_is_written(furnished: Api) -> None:
    sent = list(examples(ok(furnished.get("/openapi.json"))))

    for method, path, body in sent:
        response = furnished.request(
            method,
            path.replace("{name}", "digits"),
            json=body,
            headers={"Prefer": "respond-async"},
        )
        assert response.status_code in {200, 201, 202}, (path, body, response.text)

    assert {path for _, path, _ in sent} >= FIRST
