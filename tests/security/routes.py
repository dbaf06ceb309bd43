"""The application's routes as the tests of security try them: taken from its own map, with what
its OpenAPI document says of each.

A new route needs nothing here. What its address names must be among `things.make`, and a body of a
new content type needs a way to be sent.
"""

import re
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from flask import Flask
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from api import auth
from shared.states import Scope
from tests.api.client import Api
from tests.security.bodies import smallest

JSON = "application/json"
FORM = "multipart/form-data"


@dataclass(frozen=True)
class Route:
    """A route that asks for a key."""

    method: str
    rule: str
    scopes: frozenset[Scope]
    operation: dict[str, Any] = field(repr=False)
    document: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.rule}"

    @property
    def has_id(self) -> bool:
        return "<" in self.rule

    @property
    def is_served(self) -> bool:
        """Whether any request to it can succeed, and so what is sent to it is looked at."""
        return any(status < "400" for status in self.operation["responses"])

    @property
    def takes_key(self) -> bool:
        """Whether it says that it answers an Idempotency-Key."""
        parameters = self.operation.get("parameters", [])
        return any(parameter["name"] == "Idempotency-Key" for parameter in parameters)

    @property
    def noun(self) -> str:
        """What its address is about: `jobs`, or `fine_tuning/jobs` where it stands in a folder."""
        fixed = self.rule.partition("/<")[0]
        return fixed.removeprefix("/api").removeprefix("/v1/")

    @property
    def media_type(self) -> str | None:
        """In what form it takes a body; None: it takes none."""
        content = self.operation.get("requestBody", {}).get("content", {})
        assert set(content) <= {JSON, FORM}, f"{self} takes a body that the tests cannot send"
        return next(iter(content), None)

    @property
    def schema(self) -> dict[str, Any]:
        """The schema of its body."""
        content = self.operation["requestBody"]["content"]
        return content[self.media_type]["schema"]

    def path(self, id_: str = "x") -> str:
        """Its address, with this for every id and name."""
        return re.sub(r"<[^>]+>", id_, self.rule)

    def send(self, api: Api, id_: str = "x", *, surplus: str | None = None) -> TestResponse:
        """Send the smallest request that it takes, with one field more if that is asked for."""
        if self.media_type is None and surplus is None:
            return api.request(self.method, self.path(id_))
        fields = smallest(self.schema, self.document) if self.media_type else {}
        if surplus is not None:
            fields[surplus] = "x"
        if self.media_type == FORM:
            form = {name: _part(value) for name, value in fields.items()}
            return api.request(self.method, self.path(id_), data=form, content_type=FORM)
        return api.request(self.method, self.path(id_), json=fields)

    def send_bytes(self, api: Api, count: int) -> TestResponse:
        """Send a body of so many bytes or a few more."""
        if self.media_type != FORM:
            body = b'{"surplus": "' + b"x" * count + b'"}'
            return api.request(self.method, self.path(), data=body, content_type=JSON)
        fields = smallest(self.schema, self.document)
        form = {
            name: FileStorage(BytesIO(b"x" * count), "a.bin") if isinstance(value, bytes) else value
            for name, value in fields.items()
        }
        # Not by the test client, which makes a file of a large form and forgets to close it.
        boundary, body = encode_multipart(form)
        content_type = f"{FORM}; boundary={boundary}"
        return api.request(self.method, self.path(), data=body, content_type=content_type)


def _part(value: Any) -> Any:
    """A value as a part of a form: bytes as a file."""
    return (BytesIO(value), "a.bin") if isinstance(value, bytes) else str(value)


def guarded(app: Flask) -> list[Route]:
    """Every route that asks for a key."""
    document = app.api_doc  # type: ignore[attr-defined]
    return [
        Route(method, rule, scopes, _operation(document, method, rule), document)
        for method, rule, endpoint in everything(app)
        if isinstance(scopes := auth.access_of(app, endpoint), frozenset)
    ]


def _operation(document: dict[str, Any], method: str, rule: str) -> dict[str, Any]:
    path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)
    operations = document["paths"].get(path, {})
    assert method.lower() in operations, f"{method} {rule} is not in the OpenAPI document"
    return operations[method.lower()]


def everything(app: Flask) -> list[tuple[str, str, str]]:
    """Method, address and endpoint of every route, public ones and pages too."""
    return [
        (method, rule.rule, rule.endpoint)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]
