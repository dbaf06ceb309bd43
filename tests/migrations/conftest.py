"""A database for migrations to be tried on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

from shared.db import engine
from shared.embedded.engines import Urls
from tests.settings import forget_settings


@pytest.fixture
def empty(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An empty database beside the tests' own, which the settings name while the test runs."""
    name = f"migrations_{uuid4().hex}"
    with _server(urls) as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = make_url(str(urls.database)).set(database=name)
    with monkeypatch.context() as changed:
        changed.setenv("ATELIER_DATABASE_URL", url.render_as_string(hide_password=False))
        forget_settings()
        yield engine()
        engine().dispose()
    forget_settings()
    with _server(urls) as connection:
        # Without FORCE, which may not end an autovacuum; this waits for it instead.
        connection.execute(text(f"DROP DATABASE {name}"))


@contextmanager
def _server(urls: Urls) -> Iterator[Any]:
    url = make_url(str(urls.database)).set(drivername="postgresql+psycopg")
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        yield connection
    server.dispose()
