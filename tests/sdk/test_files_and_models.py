"""Files, models, completions and errors, with OpenAI's own client."""

from pathlib import Path

import openai
import pytest
from openai import OpenAI


def test_models_are_listed_and_found(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["stories"]

    model = client.models.retrieve("stories")

    assert (model.object, model.owned_by) == ("model", "tenant")


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


def test_the_client_walks_through_all_pages_of_files(client: OpenAI) -> None:
    made = {client.files.create(file=("a.jsonl", b"{}"), purpose="batch").id for _ in range(7)}

    found = [file.id for file in client.files.list(limit=3)]

    assert len(found) == 7
    assert set(found) == made


def test_a_completion_is_text_with_its_usage(client: OpenAI) -> None:
    completion = client.completions.create(
        model="stories", prompt="Once upon a time", max_tokens=12, n=2, seed=3, temperature=0.7
    )

    assert (completion.object, len(completion.choices)) == ("text_completion", 2)
    assert all(choice.text for choice in completion.choices)
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 24


def test_errors_become_the_clients_own(client: OpenAI, address: str) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.completions.create(model="none", prompt="a")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")

    with pytest.raises(openai.BadRequestError) as bad:
        client.completions.create(model="stories", prompt="a", temperature=9)
    assert (bad.value.param, bad.value.type) == ("temperature", "invalid_request_error")
    assert bad.value.request_id is not None
    assert bad.value.request_id.startswith("req_")

    with pytest.raises(openai.NotFoundError):
        client.files.retrieve("file-none")
    with (
        OpenAI(base_url=address, api_key="wrong") as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()
