"""OpenAI's own client, unchanged, against a live server with workers beside it."""

from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from api.app import create_app
from shared import catalog
from shared.db import transaction
from shared.services import models
from shared.states import Lane
from shared.tables.tenant import Tenant
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


CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "writer": ("causal_lm", {"max_position_embeddings": 512, "hidden_size": 64}),
    "painter": ("conditional_gan", {"size": 28, "labels": ["0", "1"]}),
}
"""Family and configuration of each model that nobody runs."""
WHOLE: dict[str, dict[str, Any]] = {
    "/completions": {"model": "writer", "prompt": "a"},
    "/chat/completions": {"model": "writer", "messages": [{"role": "user", "content": "a"}]},
    "/embeddings": {"model": "writer", "input": "a"},
    "/images/generations": {"model": "painter", "prompt": "1"},
}
"""By endpoint a body without a fault, for one of those models."""


@pytest.fixture
def unheeded(tenant: Tenant, api_key: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAI]:
    """A client whose calls are looked at and accepted, and then nobody runs them."""
    monkeypatch.setenv("ATELIER_WAIT_SECONDS", "0.001")
    forget_settings()
    with transaction() as session:
        for name, (family, config) in CONFIGS.items():
            version = models.NewVersion("none", {}, config, {})
            models.register(session, tenant.id, name, catalog.family(family), version)
    with (
        served(create_app()) as address,
        OpenAI(
            base_url=f"{address}/v1",
            api_key=api_key,
            timeout=60,
            max_retries=0,
            default_headers={"Prefer": "respond-async"},
        ) as made,
    ):
        yield made
