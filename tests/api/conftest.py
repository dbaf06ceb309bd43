"""A client of the API in this process, on real engines and a clean installation."""

from collections.abc import Iterator

import pytest
from flask import Flask

from tests.api.client import Api, new_tenant, ok
from tests.api.uploading import PIECES, Json, announce, send
from tests.threads import served


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    """Where the application is served."""
    with served(app) as address:
        yield address


@pytest.fixture
def stranger(anonymous: Api) -> Api:
    """A client of another tenant that may do everything there."""
    return anonymous.with_key(new_tenant()[1])


@pytest.fixture
def upload(api: Api) -> Json:
    """An upload of the whole to which nothing was sent."""
    return ok(announce(api))


@pytest.fixture
def part_ids(api: Api, upload: Json) -> list[str]:
    """All its parts, sent."""
    return [ok(send(api, upload, piece))["id"] for piece in PIECES]
