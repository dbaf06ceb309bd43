"""OpenAI's own client, unchanged, against a live server with workers beside it."""

from collections.abc import Iterator

import pytest
from openai import OpenAI

from api.app import create_app
from shared.states import Lane
from tests.settings import forget_settings
from tests.threads import draining, served


@pytest.fixture
def address(stories: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with workers and the model `stories`."""
    monkeypatch.setenv("ATELIER_WAIT_SECONDS", "240")
    forget_settings()
    with served(create_app()) as address, draining(Lane.TEXT, Lane.LIGHT):
        yield f"{address}/v1"


@pytest.fixture
def client(address: str, api_key: str) -> Iterator[OpenAI]:
    """The client, as a user would make it."""
    with OpenAI(base_url=address, api_key=api_key, timeout=250) as made:
        yield made
