"""What every request goes through: an id, a limit of its size, JSON that is JSON."""

import logging
import re
import time
from dataclasses import dataclass
from typing import Annotated, Any

from flask import Flask, Request, Response, g, request
from flask.json.provider import DefaultJSONProvider
from flask_openapi import FileStorage
from pydantic import AfterValidator
from ulid import ULID
from werkzeug.exceptions import UnsupportedMediaType

from shared import strict_json
from shared.errors import Invalid
from shared.log import begin
from shared.services.uploads import PART_BYTES
from shared.settings import settings
from shared.strict_json import GivenTwice

log = logging.getLogger("api.access")

_FORM_OVERHEAD_BYTES = 64 * 1024
"""What a multipart body has beside its file."""
_FORM_BYTES = 64 * 1024
"""A form of the dashboard."""
_MULTIPART = "multipart/form-data"
_FILES = frozenset({"/v1/files", "/api/v1/provenance/verify"})
_PARTS = re.compile(r"/v1/uploads/[^/]+/parts")


_REDIRECTS = {301, 302, 303, 307, 308}


class _Request(Request):
    """A request that can forget its body, and says what is wrong with one."""

    def let_go(self) -> None:
        """Forget the body: whoever has read a large one need not hold all of it to the end."""
        self._cached_data = b""
        self._cached_json = (None, None)

    def on_json_loading_failed(self, e: ValueError | None) -> Any:
        if e is None:
            raise UnsupportedMediaType
        if isinstance(e, GivenTwice):
            raise Invalid(str(e), param=e.name)
        raise Invalid(f"body: not JSON: {e}", param=None)


class _Json(DefaultJSONProvider):
    """Reads JSON as the standard has it."""

    sort_keys = False

    def loads(self, s: str | bytes, **options: Any) -> Any:
        return strict_json.loads_once(s)


def let_go() -> None:
    """Forget the body of this request, once all of it was read and compared with others."""
    request.let_go()  # type: ignore[attr-defined]


def add_to(app: Flask) -> None:
    """Hook these into an application, before anything else looks at a request."""
    # The class too: Flask-Security derives its own from it.
    app.json_provider_class = _Json
    app.json = _Json(app)
    app.request_class = _Request
    app.before_request(_begin)
    app.after_request(_end)


def new_id() -> str:
    """An id for a request."""
    return f"req_{str(ULID()).lower()}"


def _begin() -> None:
    g.request_id = new_id()
    begin(request=g.request_id)
    g.began = time.monotonic()
    request.max_content_length = _limit()


def _limit() -> int:
    large = large_body(request)
    if large is not None:
        return large.most_bytes + _FORM_OVERHEAD_BYTES
    # Anybody may send the form of the sign-in.
    return _FORM_BYTES if request.path.startswith("/dashboard") else settings().body_limit


@dataclass(frozen=True)
class LargeBody:
    """What of a form may be large."""

    field: str
    noun: str
    most_bytes: int


def large_body(sent: Request) -> LargeBody | None:
    """What of a request may be large: a file, or a part of one, and nothing else."""
    if sent.mimetype != _MULTIPART:
        return None
    if sent.path in _FILES:
        return LargeBody("file", "file", settings().file_limit)
    return LargeBody("data", "part", PART_BYTES) if _PARTS.fullmatch(sent.path) else None


def _refuse_text(sent: object) -> object:
    if isinstance(sent, str):
        raise ValueError("must be sent as a file")
    return sent


SentFile = Annotated[FileStorage, AfterValidator(_refuse_text)]
"""A file of a form."""


def _end(response: Response) -> Response:
    response.headers["x-request-id"] = g.request_id
    if response.status_code in _REDIRECTS or request.method == "OPTIONS":
        # Pages that Werkzeug and Flask write of their own accord.
        response.set_data(b"")
        response.headers.remove("Content-Type")
    seconds = time.monotonic() - g.began
    log.info("%s %s %s %.3fs", request.method, request.path, response.status_code, seconds)
    return response


def require_json() -> None:
    """Check that the body is one JSON object. Raises Invalid saying where it is not."""
    if not isinstance(request.get_json(), dict):
        raise Invalid("body: must be a JSON object", param=None)
