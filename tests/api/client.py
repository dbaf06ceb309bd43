"""What tests of the API share: a client that sends a key and speaks JSON, keys, other tenants."""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from shared.db import transaction
from shared.services import tenants
from shared.states import Lane, Scope
from worker.runner import drain

JOBS = "/api/v1/jobs"


class Api:
    """A client of the API with one key, or with none."""

    def __init__(self, client: FlaskClient, key: str | None):
        self.client = client
        self.key = key

    def request(self, method: str, path: str, **options: Any) -> TestResponse:
        headers = dict(options.pop("headers", {}))
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        return self.client.open(path, method=method, headers=headers, buffered=True, **options)

    def get(self, path: str, **query: Any) -> TestResponse:
        return self.request("GET", path, query_string=query)

    def post(self, path: str, body: Any = None, **headers: str) -> TestResponse:
        """POST JSON. A header is named with underscores: `idempotency_key="a"`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", path, json=body, headers=named)

    def delete(self, path: str) -> TestResponse:
        return self.request("DELETE", path)

    def upload(
        self,
        content: bytes,
        filename: str = "items.jsonl",
        purpose: str = "batch",
        headers: dict[str, str] | None = None,
    ) -> TestResponse:
        form = {"file": (io.BytesIO(content), filename), "purpose": purpose}
        return self.request("POST", "/v1/files", data=form, headers=headers or {})

    def with_key(self, key: str | None) -> "Api":
        return Api(self.client, key)

    def submit(self, *params: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """An accepted generation job of the stand-in, one item for each of `params`."""
        items = [{"params": each} for each in params]
        body = {"kind": "generation", "model": "stand-in", "items": items, **fields}
        return ok(self.post(JOBS, body), 202)

    def run(self, *params: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Such a job after its items ran."""
        job = self.submit(*params, **fields)
        run_queued()
        return ok(self.get(f"{JOBS}/{job['id']}"))


def ok(response: TestResponse, status: int = 200) -> dict[str, Any]:
    """The JSON of an answer that has the status that it should have."""
    assert response.status_code == status, response.text
    return response.get_json()


def refused(response: TestResponse, status: int) -> dict[str, Any]:
    """The error of an answer that has the status that it should have."""
    assert response.status_code == status, response.text
    body = response.get_json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return body["error"]


def run_queued() -> None:
    """Run all that waits, as workers would: the steps of jobs, the items, and again the steps."""
    for lane in (Lane.LIGHT, Lane.TEXT, Lane.LIGHT):
        drain(lane)


def new_key(tenant_id: str, scopes: Sequence[Scope]) -> str:
    """A key of a tenant with these scopes."""
    with transaction() as session:
        return tenants.add_key(session, tenant_id, "test", scopes)[1]


def new_tenant(name: str = "other") -> tuple[str, str]:
    """Another tenant's id, and its key that may do everything."""
    with transaction() as session:
        tenant_id = tenants.add_tenant(session, name).id
    return tenant_id, new_key(tenant_id, [Scope.ADMIN])


def walk(fetch: Callable[..., TestResponse], **query: Any) -> Iterator[list[str]]:
    """The ids of every page of a list, from its first to its last."""
    page = ok(fetch(**query))
    while page["data"]:
        ids = [row["id"] for row in page["data"]]
        assert (page["first_id"], page["last_id"]) == (ids[0], ids[-1])
        yield ids
        if not page["has_more"]:
            return
        page = ok(fetch(**query, after=page["last_id"]))
