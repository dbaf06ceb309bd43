"""The application as it is served, its routes, and clients of two tenants."""

from pathlib import Path

import pytest
from flask import Flask

from api.app import create_app
from tests.api.client import Api, new_tenant
from tests.ledger import add_stand_in
from tests.security.routes import Route, guarded


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
def stranger(anonymous: Api, stand_in: str) -> Api:
    """A client of another tenant, which has a model too and may do everything there."""
    tenant_id, key = new_tenant()
    add_stand_in(tenant_id, "strangers-own")
    return anonymous.with_key(key)


@pytest.fixture
def routes(app: Flask) -> list[Route]:
    """Every route that asks for a key."""
    found = guarded(app)
    assert len(found) > 40, "the routes were not found"
    return found
