"""Sending stored bytes: from the storage itself where it can, else streamed through here."""

from collections.abc import Iterator
from typing import IO

from flask import Response, redirect
from werkzeug.http import dump_options_header
from werkzeug.wrappers import Response as AnyResponse

from shared.storage import CHUNK_BYTES, storage

_LINK_LIFE_S = 300

INLINE = frozenset({"image/png", "text/plain; charset=utf-8"})
"""What a browser may show on the dashboard's pages. Everything else is a download."""


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
