"""Fixtures that all tests share: real engines, a clean database, settings of the test's own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text

import shared.tables.metadata
from api.app import create_app
from migrations.commands import upgrade
from shared import catalog
from shared.db import forget_engine, transaction
from shared.embedded.engines import Urls, engines
from shared.services import imports, models, tenants
from shared.states import Scope
from shared.tables.tenant import Tenant
from tests.api.client import Api
from tests.ceph import Ceph, ceph, in_ci, missing_programs
from tests.homes import scratch_home
from tests.settings import forget_settings

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data, which lies beside the project where there is one."""
    if not DATA.is_dir():
        pytest.skip(f"real data are not here ({DATA.name} beside the project is absent)")
    return DATA


@pytest.fixture(scope="session")
def urls() -> Iterator[Urls]:
    """A PostgreSQL and a Valkey of this test session, migrated."""
    with scratch_home() as home, engines(home) as found:
        os.environ["ATELIER_DATABASE_URL"] = str(found.database)
        os.environ["ATELIER_API_DATABASE_URL"] = str(found.api_database)
        os.environ["ATELIER_REDIS_URL"] = str(found.redis)
        forget_settings()
        upgrade()
        yield found
        forget_engine()


@pytest.fixture
def installation(urls: Urls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A clean installation. Gives its home."""
    home = tmp_path / "home"
    home.mkdir()
    with cleaned(urls, home, monkeypatch):
        yield home


@contextmanager
def cleaned(urls: Urls, home: Path, environment: pytest.MonkeyPatch) -> Iterator[None]:
    """Empty tables, an empty Redis and an empty folder as storage, while the block runs."""
    environment.setenv("ATELIER_HOME", str(home))
    environment.setenv("ATELIER_SECRET_KEY", "test-secret-" + "0" * 32)
    forget_settings()
    empty_tables()
    _empty_redis(str(urls.redis))
    yield
    forget_settings()


def empty_tables() -> None:
    """Leave no row in any table of the database of the settings."""
    names = ", ".join(shared.tables.metadata.metadata.tables)
    with transaction() as session:
        session.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))


def _empty_redis(url: str) -> None:
    from redis import Redis

    with Redis.from_url(url) as redis:
        redis.flushall()


@pytest.fixture(scope="module")
def s3_server() -> Iterator[Ceph]:
    """A real S3 server."""
    missing = missing_programs()
    if missing:
        (pytest.fail if in_ci() else pytest.skip)(f"Ceph is not installed: {', '.join(missing)}")
    with ceph() as started:
        yield started


@pytest.fixture
def tenant(installation: Path) -> Tenant:
    """A tenant."""
    with transaction() as session:
        return tenants.add_tenant(session, "acme")


@pytest.fixture
def api_key(tenant: Tenant) -> str:
    """A key of that tenant that may do everything."""
    with transaction() as session:
        return tenants.add_key(session, tenant.id, "test", [Scope.ADMIN])[1]


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
def stand_in(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a model of the family without a model."""
    from tests.ledger import add_stand_in

    monkeypatch.setenv("ATELIER_FAMILIES", "tests.families.stand_in")
    forget_settings()
    add_stand_in(tenant.id)
    return "stand-in"


@pytest.fixture
def stories(data: Path, tenant: Tenant) -> str:
    """The name of a small language model that tells stories."""
    family = catalog.family("causal_lm")
    version = imports.store_folder(tenant.id, data / "weights-llama-stories260k" / "hf", family)
    with transaction() as session:
        models.register(session, tenant.id, "stories", family, version)
    return "stories"
