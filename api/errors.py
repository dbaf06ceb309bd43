"""Every error as JSON: `{"error": {"message", "type", "param", "code"}}` on every status."""

import logging
from typing import Any

import psycopg
from flask import Flask, Response, jsonify, render_template, request
from gunicorn.http.errors import ParseException
from pydantic import BaseModel, ValidationError
from sqlalchemy import exc
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from api import requests
from api.requests import require_json
from shared.errors import (
    AtelierError,
    Invalid,
    Permanent,
    Retryable,
    TooLarge,
    is_disk_full,
    type_of,
)
from shared.services.invalid import invalid

log = logging.getLogger(__name__)

PAGES = "/dashboard"


class ErrorDetail(BaseModel):
    """What was wrong, where, and what to do."""

    message: str
    type: str
    """`invalid_request_error`, `authentication_error`, `permission_error`, `rate_limit_error`,
    `server_error`.
    """
    param: str | None
    """The field at fault: `items[3].params.label`."""
    code: str
    """One of a published list; see docs/errors.md."""


class ErrorAnswer(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorDetail


def detail_of(error: AtelierError) -> dict[str, Any]:
    """An error as it stands in an answer."""
    return error.detail


def _detail(status: int, message: str, code: str, param: str | None) -> ErrorDetail:
    return ErrorDetail(message=message, type=type_of(status), param=param, code=code)


_ENDS_THE_SAME = {"generation_failed", "budget_spent"}


def answer(
    status: int,
    message: str,
    code: str,
    param: str | None = None,
    retry_after_s: int | None = None,
) -> Response:
    """An error answer: JSON, or below `/dashboard` a page for people."""
    if request.path.startswith(PAGES):
        page = render_template("dashboard/error.html", heading=f"Error {status}", message=message)
        return Response(page, status, mimetype="text/html")
    detail = _detail(status, message, code, param)
    response = jsonify(ErrorAnswer(error=detail).model_dump())
    response.status_code = status
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    if (status == 409 and code != "idempotency_key_in_flight") or code in _ENDS_THE_SAME:
        # The official SDK retries every 409, 429 and 500 unless told not to.
        response.headers["x-should-retry"] = "false"
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def answer_validation(error: ValidationError) -> Response:
    """The answer to a body, query or form that does not fit its model."""
    fault = invalid(error)
    if fault.param is None and request.method == "POST":
        # No field is at fault but the whole: say first of all when it is not JSON.
        require_json()
    return answer(fault.status, fault.message, fault.code, fault.param)


def malformed(error: Exception) -> Permanent:
    """What is said of a request whose head, or whose chunks, gunicorn cannot read."""
    return Permanent(f"The request is not well-formed HTTP. {error}")


def add_to(app: Flask) -> None:
    """Turn every exception into such an answer. Pages of the dashboard have their own."""
    app.register_error_handler(AtelierError, _ours)
    app.register_error_handler(RequestEntityTooLarge, _too_large)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(ParseException, lambda error: _ours(malformed(error)))
    for unstorable in (exc.DataError, psycopg.DataError, UnicodeEncodeError):
        app.register_error_handler(unstorable, _unstorable)
    app.register_error_handler(exc.OperationalError, _database)
    app.register_error_handler(exc.TimeoutError, _database)
    app.register_error_handler(OSError, _system)
    app.register_error_handler(Exception, _unexpected)


def _ours(error: AtelierError) -> Response:
    if isinstance(error, Retryable):
        log.warning("%s %s: %s", request.method, request.path, error.message)
    return answer(error.status, error.message, error.code, error.param, error.retry_after_s)


def _too_large(_: RequestEntityTooLarge) -> Response:
    large = requests.large_body(request)
    if large is not None:
        told = f"The {large.noun} is larger than the limit of {large.most_bytes} bytes."
        return _ours(TooLarge(told, param=large.field))
    limit = request.max_content_length or 0
    return _ours(TooLarge(f"The body is larger than the limit of {limit} bytes."))


_HTTP_CODES = {
    404: "unknown_url",
    405: "method_not_allowed",
    415: "unsupported_media_type",
    429: "rate_limited",
}


_HTTP_MESSAGES = {
    400: "The request cannot be read: its query, its form or a header is malformed.",
    404: "There is no such address; /docs lists those of the API.",
    415: "The body must be JSON: send it with the header `Content-Type: application/json`.",
}
"""In place of Werkzeug's own, which are for people with a browser."""


def _message(error: HTTPException) -> str:
    if isinstance(error, MethodNotAllowed):
        taken = ", ".join(sorted(error.valid_methods or ()))
        return f"{request.method} is not a method of this address, which takes {taken}."
    said = error.description or error.name
    if said != type(error).description:
        return said
    if error.code == 404 and request.path.startswith(PAGES):
        return "There is no such page."
    return _HTTP_MESSAGES.get(error.code or 500, said)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:
        return error.get_response()  # type: ignore[return-value]
    code = _HTTP_CODES.get(status, "invalid_request" if status < 500 else "internal")
    response = answer(status, _message(error), code)
    if isinstance(error, MethodNotAllowed) and error.valid_methods is not None:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _unstorable(error: Exception) -> Response:
    # Of the error only its name: its text repeats what the client sent.
    kind = type(getattr(error, "orig", None) or error).__name__
    log.info("%s %s holds what cannot be stored: %s", request.method, request.path, kind)
    return _ours(
        Invalid(
            "A value cannot be stored: a text with the character NUL or half a surrogate pair, "
            "or a number that is too large."
        )
    )


def _database(error: Exception) -> Response:
    log.error("the database does not answer: %s", error)
    message = "The database does not answer; nothing was changed. Try again."
    return answer(503, message, "unavailable", retry_after_s=Retryable.retry_after_s)


def _system(error: OSError) -> Response:
    if not is_disk_full(error):
        return _unexpected(error)
    log.error("the disk is full: %s", error)
    message = "There is no room left on our disk; nothing was changed. Try again."
    return answer(503, message, "unavailable", retry_after_s=Retryable.retry_after_s)


def _unexpected(error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return answer(500, "Something went wrong on our side; nothing was changed.", "internal")
