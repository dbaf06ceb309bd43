"""The published description of the API: what the routes say of themselves, and in this one place
what is true of all of them.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, get_type_hints

from flask import Flask
from flask_openapi import OpenAPI
from pydantic import BaseModel

from api.addresses import base_url
from api.auth import PUBLIC

Json = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Any])

_EXTENSION = "atelier-description"

_REQUEST_ID: Json = {
    "description": "The request's id; name it when you report a fault.",
    "required": True,
    "schema": {"type": "string", "pattern": "^req_"},
}
_RETRY_AFTER: Json = {
    "description": "Seconds until the same request may succeed.",
    "schema": {"type": "integer", "minimum": 0},
}
_RATES: dict[str, Json] = {
    "x-ratelimit-limit-requests": {
        "description": "How many requests this key may send in a minute.",
        "schema": {"type": "integer"},
    },
    "x-ratelimit-remaining-requests": {
        "description": "How many of them are left.",
        "schema": {"type": "integer"},
    },
    "x-ratelimit-reset-requests": {
        "description": "When the next minute begins: `7s`.",
        "schema": {"type": "string", "pattern": "^[0-9]+s$"},
    },
}
_ERRORS: dict[str, tuple[str, str]] = {
    "400": ("BadRequest", "A field, parameter or line cannot be used; `param` names it."),
    "401": ("Unauthenticated", "No valid key was sent, or it was revoked or has expired."),
    "403": ("Forbidden", "The key lacks the scope that this operation needs."),
    "404": ("NotFound", "There is no such thing, or it belongs to another tenant."),
    "409": ("Conflict", "The thing is not in a state that allows this."),
    "413": ("TooLarge", "The body is larger than the limit."),
    "415": ("UnsupportedMediaType", "The body is of another media type than the one named here."),
    "422": ("KeyReused", "The Idempotency-Key was used with another request."),
    "429": ("TooManyRequests", "A quota or rate is used up; nothing was accepted."),
    "500": (
        "Failed",
        "Something went wrong on the server's side; nothing was changed, unless `code` is "
        "`generation_failed`: then the call's job has failed.",
    ),
    "503": (
        "Unavailable",
        "It cannot be served now; nothing was changed, or the call's job was cancelled. Try again.",
    ),
}
"""Name and meaning of every error's answer, by status."""
_REPEATABLE = {"429", "503"}

_KEY_PARAMETER: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Your own key of this request: sent again with it, the same request creates "
    "nothing new and gets the same answer, for at least 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
# As tools of OpenAPI 3.1 read it: the schema of a stream is that of each event.
_EVENT: Json = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
    "required": ["data"],
}
_PREFER_PARAMETER: Json = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "With `respond-async`, a call that takes longer than the server waits is "
    "answered by its job (202) instead of being cancelled (503).",
    "schema": {"type": "string", "examples": ["respond-async"]},
}


def may_stream(said: str, *headers: Json) -> Callable[[View], View]:
    """Marks a route that also answers with server-sent events, and the headers that it reads."""

    def mark(view: View) -> View:
        view.said_of_stream = said  # type: ignore[attr-defined]
        view.headers = headers  # type: ignore[attr-defined]
        return view

    return mark


def description(app: OpenAPI) -> Json:
    """The description, for whoever asks at this address."""
    return {**app.extensions[_EXTENSION], "servers": [{"url": base_url()}]}


def complete(app: OpenAPI) -> None:
    """Make the description, once every route is registered."""
    made = app.api_doc
    components = made["components"]
    components["schemas"].update(_request_schemas(app))
    components["headers"] = _RATES | {"x-request-id": _REQUEST_ID, "Retry-After": _RETRY_AFTER}
    components["responses"] = {_ERRORS[status][0]: _error(status) for status in _ERRORS}
    for method, path, view in _views(app):
        operation = made["paths"].get(path, {}).get(method.lower())
        if operation is not None:
            _complete_operation(operation, method, path, view)
    app.extensions[_EXTENSION] = made


def _views(app: Flask) -> Iterator[tuple[str, str, Callable[..., Any]]]:
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            yield method, path, app.view_functions[rule.endpoint]


def _request_schemas(app: Flask) -> dict[str, Json]:
    """The schemas of bodies, whole: the library that collects them drops some keywords."""
    found: dict[str, Json] = {}
    for _, _, view in _views(app):
        hints = get_type_hints(view)
        if body := hints.get("body"):
            found |= _schemas_of(body)
        if form := hints.get("form"):
            found |= _schemas_of(form)
            fields = found[form.__name__]["properties"]
            fields |= {name: _without_null(schema) for name, schema in fields.items()}
    return found


def _schemas_of(model: type[BaseModel]) -> dict[str, Json]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    named = schema.pop("$defs", {})
    return {**named, model.__name__: schema}


def _complete_operation(operation: Json, method: str, path: str, view: Any) -> None:
    operation["operationId"] = view.__name__
    access = getattr(view, "access", None)
    if access == PUBLIC:
        # The library gives every operation of a blueprint what most of them need.
        operation.pop("security", None)
    if isinstance(access, frozenset):
        needed = " or ".join(f"`{scope}`" for scope in sorted(access))
        said = operation.get("description", "")
        operation["description"] = f"{said}\n\nNeeds a key with the scope {needed}.".strip()
    if getattr(view, "takes_idempotency_key", False):
        operation.setdefault("parameters", []).append(_KEY_PARAMETER)
    answers = {status: said for status, said in operation["responses"].items() if status < "400"}
    operation["responses"] = answers
    if "202" in answers and path.startswith("/v1/"):
        operation.setdefault("parameters", []).append(_PREFER_PARAMETER)
    if said := getattr(view, "said_of_stream", None):
        answers["200"]["content"]["text/event-stream"] = {"schema": _EVENT | {"description": said}}
        operation["parameters"] = [*operation.get("parameters", []), *view.headers]
    _complete_query(operation)
    for answer in answers.values():
        names = ("x-request-id", *(_RATES if "security" in operation else ()))
        answer["headers"] = _headers(*names) | answer.get("headers", {})
    for status in _statuses(operation, method):
        answers[status] = {"$ref": f"#/components/responses/{_ERRORS[status][0]}"}


def _complete_query(operation: Json) -> None:
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query":
            parameter["schema"] = _without_null(parameter["schema"])
            if parameter["schema"].get("type") == "object":
                parameter |= {"style": "deepObject", "explode": True}


def _without_null(schema: Json) -> Json:
    """A field of an address or a form is there or absent; there is no way to send null."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {**{name: said for name, said in schema.items() if name != "anyOf"}, **kinds[0]}


def _statuses(operation: Json, method: str) -> list[str]:
    """The statuses of errors in which an operation may end."""
    parameters = operation.get("parameters", [])
    takes_key = _KEY_PARAMETER in parameters
    has_id = any(parameter["in"] == "path" for parameter in parameters)
    has_body = "requestBody" in operation
    # Whether an id without a form is one of a list is not known before it is looked for.
    has_free_id = any(
        parameter["name"] == "after" and "pattern" not in parameter["schema"]
        for parameter in parameters
    )
    conditions = {
        "400": "security" in operation,
        "401": "security" in operation,
        "403": "security" in operation,
        "404": has_id or has_body or has_free_id,
        "409": method != "GET",
        "413": method != "GET",
        "415": has_body,
        "422": takes_key,
        # Without a key it is the address whose requests are counted, but for those of health.
        "429": "security" in operation or has_id,
    }
    return [status for status in _ERRORS if conditions.get(status, True)]


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _error(status: str) -> Json:
    headers = _headers("x-request-id", *(("Retry-After",) if status in _REPEATABLE else ()))
    schema = {"$ref": "#/components/schemas/ErrorAnswer"}
    content = {"application/json": {"schema": schema}}
    return {"description": _ERRORS[status][1], "headers": headers, "content": content}
