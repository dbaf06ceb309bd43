"""Fixtures of the fault suite: one site for all of it, emptied before each test."""

import os
from collections.abc import Iterator

import pytest

from shared.db import transaction
from shared.services import tenants
from shared.states import Scope
from tests.ceph import Ceph
from tests.chaos.client import Customer
from tests.chaos.site import Site, site
from tests.conftest import empty_tables
from tests.ledger import add_stand_in
from tests.settings import forget_settings


@pytest.fixture(scope="module")
def engines_to_hurt(s3_server: Ceph) -> Iterator[tuple[Site, dict[str, str]]]:
    """The site, and the environment that its programs need."""
    before = dict(os.environ)
    with site(s3_server) as made:
        yield made, dict(os.environ)
    os.environ.clear()
    os.environ.update(before)
    forget_settings()


@pytest.fixture
def victim(engines_to_hurt: tuple[Site, dict[str, str]]) -> Iterator[Site]:
    """A site with empty tables, an empty Redis and no program; healed after the test."""
    made, variables = engines_to_hurt
    before = dict(os.environ)
    os.environ.update(variables)
    forget_settings()
    empty_tables()
    made.flush_redis()
    yield made
    made.heal()
    os.environ.clear()
    os.environ.update(before)
    forget_settings()


@pytest.fixture
def customer(victim: Site) -> Iterator[Customer]:
    """A tenant of that site with a stand-in model, as a client of its API."""
    with transaction() as session:
        tenant = tenants.add_tenant(session, "acme")
        _, key = tenants.add_key(session, tenant.id, "test", [Scope.ADMIN])
    add_stand_in(tenant.id)
    with Customer(victim.address, key, tenant.id) as made:
        yield made
