"""What every request goes through: an id, a limit of its size, JSON that is JSON, headers of
safety.
"""

import logging
import time
from typing import Any

from flask import Flask, Request, Response, g, request
from flask.json.provider import DefaultJSONProvider
from ulid import ULID
from werkzeug.exceptions import BadRequest

from shared.errors import Invalid
from shared.log import begin
from shared.settings import settings

log = logging.getLogger("api.access")

_FORM_OVERHEAD_BYTES = 64 * 1024
"""What a multipart body has beside its file."""
_FORM_BYTES = 64 * 1024
"""A form of the dashboard."""
_MULTIPART = "multipart/form-data"
_FILES = "/v1/files"


class _Json(DefaultJSONProvider):
    """JSON as the standard has it: without NaN and Infinity, and no deeper than can be read."""

    sort_keys = False

    def loads(self, s: str | bytes, **options: Any) -> Any:
        try:
            return super().loads(s, parse_constant=_refuse_constant, **options)
        except RecursionError:
            raise ValueError("nested too deep") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def add_to(app: Flask) -> None:
    """Hook these into an application, before anything else looks at a request."""
    # The class too: Flask-Security derives its own from it.
    app.json_provider_class = _Json
    app.json = _Json(app)
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.request_id = f"req_{str(ULID()).lower()}"
    begin(request=g.request_id)
    g.began = time.monotonic()
    request.max_content_length = _limit()


def _limit() -> int:
    if is_file(request):
        return settings().file_limit + _FORM_OVERHEAD_BYTES
    # Anybody may send the form of the sign-in.
    return _FORM_BYTES if request.path.startswith("/dashboard") else settings().body_limit


def is_file(sent: Request) -> bool:
    """Whether a request uploads a file: the only body that may be large."""
    return sent.path == _FILES and sent.mimetype == _MULTIPART


def _end(response: Response) -> Response:
    response.headers["x-request-id"] = g.request_id
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "no-referrer")
    response.headers.setdefault("X-Frame-Options", "DENY")
    seconds = time.monotonic() - g.began
    log.info("%s %s %s %.3fs", request.method, request.path, response.status_code, seconds)
    return response


def require_json() -> None:
    """Check that the body is one JSON object. Raises Invalid saying where it is not."""
    try:
        body = request.get_json()
    except BadRequest as error:
        raise Invalid(f"body: not JSON: {error.description}", param=None) from None
    if not isinstance(body, dict):
        raise Invalid("body: must be a JSON object", param=None)
