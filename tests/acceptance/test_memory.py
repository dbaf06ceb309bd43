"""What is large streams: memory grows neither with a file's size nor with a batch's length."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from api.demo.client import Json
from tests.benchmarks.batch import FAMILY, add_parrot, run_whole
from tests.benchmarks.installation import Installation, installation
from tests.benchmarks.memory import API, peaks

MEGABYTE = 1 << 20
SIZE = 200 * MEGABYTE
GROWTH = 40 * MEGABYTE
"""Of all the API's processes together, or all the workers': buffers and what first requests load.
"""
LINES, LINE_BYTES = 5_000, 15_000


@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    with installation(ATELIER_FAMILIES=FAMILY) as running:
        add_parrot(running.tenant_id)
        yield running


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of 200 megabytes."""
    block = hashlib.sha256(b"noise").digest() * (MEGABYTE // 32)
    file = tmp_path / "large.bin"
    with file.open("wb") as target:
        for _ in range(SIZE // MEGABYTE):
            target.write(block)
    return file


def test_a_file_of_200_megabytes_goes_up_and_comes_down_in_little_memory(
    site: Installation, large: Path
) -> None:
    headers = {"Authorization": f"Bearer {site.key}"}
    with httpx.Client(base_url=site.address, headers=headers, timeout=120) as http:
        http.get("/v1/files").raise_for_status()
        before = peaks(site, API)
        made = upload(http, large)
        received, digest = download(http, made["id"])

    assert made["bytes"] == received == SIZE
    assert digest == made["sha256"]
    assert peaks(site, API) - before < GROWTH


def test_a_file_of_200_megabytes_comes_in_parts_in_little_memory(
    site: Installation, large: Path
) -> None:
    with OpenAI(base_url=f"{site.address}/v1", api_key=site.key, timeout=120) as client:
        client.files.list()
        before = peaks(site, API)
        made = client.uploads.upload_file_chunked(
            file=large, mime_type="application/octet-stream", purpose="user_data"
        )

    assert made.file is not None
    assert made.file.bytes == SIZE
    with large.open("rb") as source:
        assert made.file.to_dict()["sha256"] == hashlib.file_digest(source, "sha256").hexdigest()
    assert peaks(site, API) - before < GROWTH


def test_a_batch_of_5000_long_lines_is_answered_in_little_memory(site: Installation) -> None:
    padding = " and more" * (LINE_BYTES // len(" and more"))
    prompts = [f"Prompt {number}{padding}" for number in range(LINES)]

    with OpenAI(base_url=f"{site.address}/v1", api_key=site.key, timeout=120) as client:
        run_whole(site, client, ["Hello"] * 100)
        course = run_whole(site, client, prompts)

    assert course.api_growth_mib * MEGABYTE < GROWTH
    assert course.workers_growth_mib * MEGABYTE < GROWTH


def upload(http: httpx.Client, path: Path) -> Json:
    with path.open("rb") as source:
        files = {"file": (path.name, source)}
        return http.post("/v1/files", data={"purpose": "user_data"}, files=files).json()


def download(http: httpx.Client, file: str) -> tuple[int, str]:
    """How many bytes came, and their SHA-256."""
    digest, received = hashlib.sha256(), 0
    with http.stream("GET", f"/v1/files/{file}/content") as answer:
        for chunk in answer.iter_bytes(MEGABYTE):
            digest.update(chunk)
            received += len(chunk)
    return received, digest.hexdigest()
