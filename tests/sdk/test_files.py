"""Files that expire and files that come in parts, with OpenAI's own client."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from api.app import create_app
from tests.ledger import execute
from tests.threads import served

CONTENT = os.urandom(300_000)


@pytest.fixture
def client(installation: Path, api_key: str) -> Iterator[OpenAI]:
    """The client, as a user would make it, and a server to speak to."""
    with (
        served(create_app()) as address,
        OpenAI(base_url=f"{address}/v1", api_key=api_key, timeout=60) as made,
    ):
        yield made


def test_a_file_lives_from_upload_to_deletion(client: OpenAI, tmp_path: Path) -> None:
    content = bytes(range(256)) * 8_000
    path = tmp_path / "set.jsonl"
    path.write_bytes(content)

    with path.open("rb") as source:
        file = client.files.create(file=source, purpose="fine-tune")

    assert (file.filename, file.bytes, file.status) == ("set.jsonl", len(content), "processed")
    assert client.files.retrieve(file.id).id == file.id
    assert client.files.content(file.id).read() == content
    assert client.files.delete(file.id).deleted
    assert list(client.files.list()) == []


def test_a_file_that_expires_says_when_and_is_gone_then(client: OpenAI) -> None:
    kept = client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
    file = client.files.create(
        file=("b.jsonl", b"{}"),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )

    assert kept.expires_at is None
    assert file.expires_at == file.created_at + 3600
    assert {each.id for each in client.files.list(purpose="batch")} == {kept.id, file.id}
    execute("UPDATE files SET expires_at = now() WHERE expires_at IS NOT NULL")
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    assert [each.id for each in client.files.list()] == [kept.id]


def test_the_client_walks_through_all_pages_in_either_order(client: OpenAI) -> None:
    made = [client.files.create(file=("a.jsonl", b"{}"), purpose="batch").id for _ in range(7)]

    assert [file.id for file in client.files.list(limit=3)] == made[::-1]
    assert [file.id for file in client.files.list(limit=3, order="asc")] == made
    assert [file.id for file in client.files.list(after=made[2], order="asc")] == made[3:]


def test_the_client_sends_a_file_in_chunks(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_bytes(CONTENT)

    upload = client.uploads.upload_file_chunked(
        file=path,
        mime_type="text/jsonl",
        purpose="fine-tune",
        part_size=70_000,
        md5=hashlib.md5(CONTENT).hexdigest(),
    )

    assert (upload.status, upload.filename, upload.bytes) == ("completed", "set.jsonl", 300_000)
    assert upload.file is not None
    assert client.files.retrieve(upload.file.id) == upload.file
    assert client.files.content(upload.file.id).read() == CONTENT
    assert client.files.delete(upload.file.id).deleted


def test_parts_go_up_side_by_side_and_are_completed_in_order(client: OpenAI) -> None:
    upload = client.uploads.create(
        bytes=len(CONTENT),
        filename="set.jsonl",
        mime_type="text/jsonl",
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    pieces = [CONTENT[start : start + 50_000] for start in range(0, len(CONTENT), 50_000)]
    with ThreadPoolExecutor(4) as pool:
        send = client.uploads.parts.create
        parts = list(pool.map(lambda piece: send(upload.id, data=piece), pieces))

    completed = client.uploads.complete(upload.id, part_ids=[part.id for part in parts])

    assert {part.upload_id for part in parts} == {upload.id}
    assert completed.file is not None
    assert completed.file.expires_at == completed.file.created_at + 3600
    assert client.files.content(completed.file.id).read() == CONTENT


def test_what_cannot_succeed_is_refused_at_the_first_try(client: OpenAI) -> None:
    upload = client.uploads.create(
        bytes=6, filename="a", mime_type="text/plain", purpose="user_data"
    )
    part = client.uploads.parts.create(upload.id, data=b"abc")

    with pytest.raises(openai.BadRequestError, match="have 3 bytes") as wrong:
        client.uploads.complete(upload.id, part_ids=[part.id])
    assert client.uploads.cancel(upload.id).status == "cancelled"
    with pytest.raises(openai.ConflictError, match="is cancelled") as over:
        client.uploads.parts.create(upload.id, data=b"def")

    for error in (wrong.value, over.value):
        assert error.response.request.headers["x-stainless-retry-count"] == "0"
