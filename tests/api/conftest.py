"""A client of the API in this process, on real engines and a clean installation."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.serving import make_server

from api.app import create_app
from tests.api.client import Api, new_tenant, ok
from tests.api.uploading import PIECES, Json, announce, send
from tests.threads import serving


@pytest.fixture
def app(installation: Path) -> Flask:
    """The application by the test's settings."""
    return create_app()


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    """Where the application is served."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    with serving(server):
        yield f"http://127.0.0.1:{server.port}"
    server.server_close()


@pytest.fixture
def anonymous(app: Flask) -> Api:
    """A client without a key."""
    return Api(app.test_client(), None)


@pytest.fixture
def api(anonymous: Api, api_key: str) -> Api:
    """A client of the tenant that may do everything."""
    return anonymous.with_key(api_key)


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
