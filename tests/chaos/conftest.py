"""Fixtures of the fault suite: one site for a module of it, emptied before each test."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def in_use(found: tuple[Site, dict[str, str]]) -> Iterator[Site]:
    """A site with empty tables, an empty Redis and no program; healed afterwards."""
    made, variables = found
    before = dict(os.environ)
    os.environ.update(variables)
    forget_settings()
    empty_tables()
    made.flush_redis()
    try:
        yield made
    finally:
        made.heal()
        os.environ.clear()
        os.environ.update(before)
        forget_settings()


@contextmanager
def customer_of(victim: Site, name: str) -> Iterator[Customer]:
    """A tenant of that site with a stand-in model, as a client of its API."""
    with transaction() as session:
        tenant = tenants.add_tenant(session, name)
        _, key = tenants.add_key(session, tenant.id, "test", [Scope.ADMIN])
    add_stand_in(tenant.id)
    with Customer(victim.address, key, tenant.id) as made:
        yield made


@pytest.fixture
def victim(engines_to_hurt: tuple[Site, dict[str, str]]) -> Iterator[Site]:
    """A site of the test's own."""
    with in_use(engines_to_hurt) as made:
        yield made


@pytest.fixture
def customer(victim: Site) -> Iterator[Customer]:
    """A tenant of that site."""
    with customer_of(victim, "acme") as made:
        yield made
