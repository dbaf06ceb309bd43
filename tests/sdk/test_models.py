"""Models, completions and errors, with OpenAI's own client."""

import openai
import pytest
from openai import OpenAI


def test_models_are_listed_and_found(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["stories"]

    model = client.models.retrieve("stories")

    assert (model.object, model.owned_by) == ("model", "tenant")


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
