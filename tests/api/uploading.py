"""What tests of uploads share: a file in pieces, and a client's four requests."""

import os
from io import BytesIO
from typing import Any

from werkzeug.test import TestResponse

from shared.storage import storage
from tests.api.client import Api, refused

UPLOADS, FILES = "/v1/uploads", "/v1/files"
PIECES = [os.urandom(1000), b"b", os.urandom(70_000), b"d" * 500]
WHOLE = b"".join(PIECES)

Json = dict[str, Any]


def announce(api: Api, **fields: Any) -> TestResponse:
    body = {"filename": "big.jsonl", "purpose": "batch", "bytes": len(WHOLE)}
    return api.post(UPLOADS, body | {"mime_type": "text/jsonl"} | fields)


def send(api: Api, upload: Json, piece: bytes, **headers: str) -> TestResponse:
    form = {"data": (BytesIO(piece), "upload")}
    path = f"{UPLOADS}/{upload['id']}/parts"
    return api.request("POST", path, data=form, headers=headers)


def send_large(api: Api, upload: Json, size_bytes: int) -> TestResponse:
    """As `send`, without the temporary file that the test client would forget to close."""
    head = b'--x\r\nContent-Disposition: form-data; name="data"; filename="upload"\r\n\r\n'
    return api.request(
        "POST",
        f"{UPLOADS}/{upload['id']}/parts",
        data=head + bytes(size_bytes) + b"\r\n--x--\r\n",
        content_type="multipart/form-data; boundary=x",
    )


def complete(api: Api, upload: Json, part_ids: list[str], **fields: Any) -> TestResponse:
    return api.post(f"{UPLOADS}/{upload['id']}/complete", {"part_ids": part_ids, **fields})


def cancel(api: Api, upload: Json) -> TestResponse:
    return api.post(f"{UPLOADS}/{upload['id']}/cancel")


def objects() -> list[str]:
    return [stored.key for stored in storage().list("")]


def refused_for_good(response: TestResponse, state: str) -> None:
    """A 409 that names the state and that the official SDK does not try again."""
    error = refused(response, 409)
    assert f"is {state}; create another one" in error["message"]
    assert response.headers["x-should-retry"] == "false"
