"""A served API with a model, its address and key in the environment, and workers beside it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from shared.states import Lane
from tests.api.commands.site import Site, said
from tests.threads import draining, served


@pytest.fixture
def site(stand_in: str, api_key: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The API, served, as the environment names it."""
    site = Site(create_app())
    with served(site) as address:
        site.address = address
        monkeypatch.setenv("ATELIER_URL", address)
        monkeypatch.setenv("ATELIER_API_KEY", api_key)
        yield site


@pytest.fixture
def workers(site: Site) -> Iterator[None]:
    """What runs jobs."""
    with draining(Lane.LIGHT, Lane.TEXT):
        yield


@pytest.fixture
def items(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of items."""

    def write(*lines: dict[str, Any]) -> Path:
        path = tmp_path / "items.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return path

    return write


@pytest.fixture
def finished(workers: None, items: Callable[..., Path]) -> Callable[..., str]:
    """Submits items and waits for them; gives the job's id."""

    def submit(*lines: dict[str, Any]) -> str:
        return said("submit", items(*lines), "--model", "stand-in", "--wait").strip()

    return submit
