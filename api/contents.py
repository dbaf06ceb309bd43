"""Sending stored bytes: from the storage itself where it can, else streamed through here."""

from collections.abc import Iterator
from typing import IO, Any

from flask import Response, redirect
from flask_openapi.types import ResponseDict
from werkzeug.http import dump_options_header
from werkzeug.wrappers import Response as AnyResponse

from shared.storage import CHUNK_BYTES, storage

_LINK_LIFE_S = 300

INLINE = frozenset({"image/png", "text/plain; charset=utf-8"})
"""What a browser may show on the dashboard's pages. Everything else is a download."""


def answers(*media_types: str) -> ResponseDict:
    """How a route that sends bytes of these media types is described."""
    disposition = {
        "description": "`attachment`, and a name for the file.",
        "schema": {"type": "string"},
    }
    location = {
        "description": f"An address at the storage that holds for {_LINK_LIFE_S} seconds.",
        "required": True,
        "schema": {"type": "string", "format": "uri"},
    }
    return {
        200: {
            "description": "The bytes.",
            "headers": {"Content-Disposition": disposition},
            "content": {media_type: {"schema": _schema(media_type)} for media_type in media_types},
        },
        302: {
            "description": "The bytes are at another address; fetch them there without the key.",
            "headers": {"Location": location},
        },
    }


def _schema(media_type: str) -> dict[str, Any]:
    is_text = media_type.startswith("text/")
    return {"type": "string"} if is_text else {"type": "string", "format": "binary"}


def send(key: str, filename: str, media_type: str, *, inline: bool = False) -> AnyResponse:
    """A redirect to a signed address, or the bytes. `inline` is for the dashboard's own pages."""
    url = storage().url(key, filename=filename, media_type=media_type, expires_s=_LINK_LIFE_S)
    if url is not None and not inline:
        return redirect(url)
    shown = inline and media_type in INLINE
    source = storage().open(key)  # before the first byte: a missing object is still a clean error
    response = Response(_chunks(source), mimetype=None, content_type=media_type)
    response.call_on_close(source.close)  # also after HEAD, which reads nothing
    response.headers["Content-Disposition"] = dump_options_header(
        "inline" if shown else "attachment", {"filename": filename}
    )
    # What was generated or uploaded never runs as a page.
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    while chunk := source.read(CHUNK_BYTES):
        yield chunk
