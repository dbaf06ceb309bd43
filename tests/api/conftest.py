"""A client of the API in this process, on real engines and a clean installation."""

from pathlib import Path

import pytest
from flask import Flask

from api.app import create_app
from tests.api.client import Api, new_tenant


@pytest.fixture
def app(installation: Path) -> Flask:
    """The application by the test's settings."""
    return create_app()


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
