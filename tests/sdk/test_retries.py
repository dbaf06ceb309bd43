"""The official client repeats what it got no answer to: nothing is made twice by that. What would
end the same it does not repeat.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from openai import InternalServerError, OpenAI

from api.app import create_app
from shared.states import Lane
from tests.api.client import JOBS, Api, ok
from tests.settings import forget_settings
from tests.threads import Wsgi, draining, served


class Lossy:
    """An application whose first answer to each address is lost on the way."""

    def __init__(self, app: Wsgi):
        self.app = app
        self.lost: set[str] = set()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        asked = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        if asked in self.lost:
            return self.app(environ, start)
        self.lost.add(asked)
        list(self.app(environ, lambda *_: None))
        start("502 Bad Gateway", [("Content-Type", "text/plain"), ("Retry-After", "0")])
        return [b"lost"]


@pytest.fixture
def client(stories: str, api_key: str) -> Iterator[OpenAI]:
    """The client, as a user would make it, on a bad line."""
    with (
        served(Lossy(create_app())) as address,
        OpenAI(base_url=f"{address}/v1", api_key=api_key, timeout=60) as made,
    ):
        yield made


def test_a_batch_whose_answer_was_lost_is_made_once(client: OpenAI) -> None:
    file = client.files.create(file=("a.jsonl", b"{}"), purpose="batch")

    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/completions", completion_window="24h"
    )

    assert [each.id for each in client.batches.list()] == [batch.id]
    assert [each.id for each in client.files.list()] == [file.id]


def test_a_call_whose_model_failed_is_not_repeated_and_its_job_is_there(
    stories: str, api: Api, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the weights are no good")

    monkeypatch.setattr("worker.text.causal_lm.family.CausalLm.generate", fail)
    monkeypatch.setenv("ATELIER_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("ATELIER_WAIT_SECONDS", "60")
    forget_settings()
    asked: list[str] = []

    def counted(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        asked.append(environ["PATH_INFO"])
        return app(environ, start)

    app = create_app()
    with (
        served(counted) as address,
        draining(Lane.TEXT),
        OpenAI(base_url=f"{address}/v1", api_key=api_key) as client,
        pytest.raises(InternalServerError) as failed,
    ):
        client.completions.create(model=stories, prompt="Once", max_tokens=4)

    assert failed.value.code == "generation_failed"
    assert asked == ["/v1/completions"]
    (job,) = ok(api.get(JOBS))["data"]
    assert job["state"] == "failed"
