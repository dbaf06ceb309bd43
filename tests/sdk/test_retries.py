"""The official client repeats what it got no answer to: nothing is made twice by that."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from openai import OpenAI

from api.app import create_app
from tests.threads import Wsgi, served


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
