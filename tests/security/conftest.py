"""The application as it is served, its routes, and clients of two tenants."""

import pytest
from flask import Flask

from tests.api.client import Api, new_tenant
from tests.ledger import add_stand_in
from tests.security.routes import Route, guarded


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
