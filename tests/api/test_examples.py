"""The description has an example of every body; each is sent as it is written, and accepted."""

import io
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from shared.tables.tenant import Tenant
from tests.api.client import Api, ok
from tests.api.furnishing import FAMILIES, furnish
from tests.settings import forget_settings

Json = dict[str, Any]

FORM = "multipart/form-data"


class Operation(NamedTuple):
    """What takes a body."""

    method: str
    path: str
    media_type: str
    schema: Json

    def options(self, example: Json) -> Json:
        """How the test's client is told to send an example."""
        if self.media_type != FORM:
            return {"json": example}
        fields = self.schema["properties"]
        return {
            "data": {
                name: _file(value) if fields[name].get("format") == "binary" else value
                for name, value in example.items()
            }
        }


def _file(text: str) -> tuple[io.BytesIO, str]:
    return io.BytesIO(text.encode()), "example"


@pytest.fixture
def names(api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What stands for the open parts of addresses, at an installation that has what the examples
    name, and no worker.
    """
    monkeypatch.setenv("ATELIER_WAIT_SECONDS", "0.1")
    monkeypatch.setenv("ATELIER_FAMILIES", FAMILIES)
    forget_settings()
    return furnish(api, tenant.id)


def operations(document: Json) -> Iterator[Operation]:
    """Every operation that takes a body, once for each form in which it does."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                name = content["schema"]["$ref"].split("/")[-1]
                schema = document["components"]["schemas"][name]
                yield Operation(method.upper(), path, media_type, schema)


def test_every_body_has_an_example_that_is_accepted_as_it_is_written(
    api: Api, names: dict[str, str]
) -> None:
    taking_bodies = list(operations(ok(api.get("/openapi.json"))))
    assert {each.media_type for each in taking_bodies} == {"application/json", FORM}

    for operation in taking_bodies:
        method, path, _, schema = operation
        assert schema.get("examples"), (method, path)
        for body in schema["examples"]:
            response = api.request(
                method,
                _filled(path, names),
                headers={"Prefer": "respond-async"},
                **operation.options(body),
            )
            assert response.status_code in {200, 201, 202}, (path, body, response.text)


def _filled(path: str, names: dict[str, str]) -> str:
    """An address with a name in its open part."""
    for beginning, name in names.items():
        if path.startswith(f"{beginning}/{{"):
            _, _, rest = path.partition("}")
            return f"{beginning}/{name}{rest}"
    return path
