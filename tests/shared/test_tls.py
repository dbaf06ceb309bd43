"""TLS to the engines: the settings' addresses take it, and nothing goes on without it."""

import http.server
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from kombu.exceptions import OperationalError as NoBroker
from redis.exceptions import ConnectionError as NoRedis
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from api.limits import Rates
from shared import wall
from shared.db import reading
from shared.embedded.engines import Urls
from shared.errors import NotFound, StorageUnavailable
from shared.queues import WORK, lanes_without_hint, make_celery
from shared.states import Lane
from shared.storage import storage
from tests.settings import forget_settings
from tests.threads import serving
from tests.tls import fronted, make_certificate, server_context

NAME = "localhost"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"), NAME)


@pytest.fixture(scope="module")
def authority(certificate: Path) -> Path:
    return certificate.with_suffix(".crt")


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """An authority that has not signed that certificate."""
    return make_certificate(tmp_path, NAME).with_suffix(".crt")


def at(url: str, port: int | None, query: str, host: str = NAME, scheme: str | None = None) -> str:
    """The same engine at another place."""
    there = urlsplit(url)
    who, _, here = there.netloc.rpartition("@")
    port = port or int(here.rpartition(":")[2])
    place = there._replace(scheme=scheme or there.scheme, netloc=f"{who}@{host}:{port}")
    return urlunsplit(place._replace(query=query))


def set_to(change: pytest.MonkeyPatch, **settings: str) -> None:
    for name, value in settings.items():
        change.setenv(f"ATELIER_{name.upper()}", value)
    forget_settings()


class TestPostgres:
    @pytest.fixture
    def port(self, installation: Path, urls: Urls, certificate: Path) -> Iterator[int]:
        with fronted(str(urls.database), certificate) as port:
            yield port
            forget_settings()  # its connections end before what they lead through

    @pytest.fixture(params=["database_url", "api_database_url"])
    def asked(self, request: pytest.FixtureRequest) -> str:
        """The setting by whose address is asked."""
        return request.param

    def ask(self, asked: str) -> int:
        tenant = wall.OWNER if asked == "database_url" else wall.NOBODY
        with wall.asking_for(tenant), reading() as session:
            return session.execute(text("SELECT 1")).scalar_one()

    def address(self, urls: Urls, asked: str) -> str:
        return str(urls.database if asked == "database_url" else urls.api_database)

    def test_it_is_spoken_to_over_tls(
        self, port: int, urls: Urls, asked: str, authority: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        query = f"sslmode=verify-full&sslrootcert={authority}"
        set_to(monkeypatch, **{asked: at(self.address(urls, asked), port, query)})

        assert self.ask(asked) == 1

    def test_a_certificate_of_a_stranger_is_refused(
        self, port: int, urls: Urls, asked: str, stranger: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        query = f"sslmode=verify-full&sslrootcert={stranger}"
        set_to(monkeypatch, **{asked: at(self.address(urls, asked), port, query)})

        with pytest.raises(OperationalError, match="certificate verify failed"):
            self.ask(asked)

    def test_a_certificate_for_another_name_is_refused(
        self, port: int, urls: Urls, asked: str, authority: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        query = f"sslmode=verify-full&sslrootcert={authority}"
        url = at(self.address(urls, asked), port, query, host="127.0.0.1")
        set_to(monkeypatch, **{asked: url})

        with pytest.raises(OperationalError, match="does not match host name"):
            self.ask(asked)

    def test_a_server_without_tls_is_told_nothing(
        self, port: int, urls: Urls, asked: str, authority: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        query = f"sslmode=verify-full&sslrootcert={authority}"
        url = at(self.address(urls, asked), None, query, host="127.0.0.1")
        set_to(monkeypatch, **{asked: url})

        with pytest.raises(OperationalError, match="does not support SSL"):
            self.ask(asked)


class TestRedis:
    @pytest.fixture
    def port(self, installation: Path, urls: Urls, certificate: Path) -> Iterator[int]:
        with fronted(str(urls.redis), certificate) as port:
            yield port

    def url(self, urls: Urls, port: int, authority: Path) -> str:
        query = f"ssl_cert_reqs=required&ssl_check_hostname=true&ssl_ca_certs={authority}"
        return at(str(urls.redis), port, query, scheme="rediss")

    def hint(self) -> None:
        with make_celery() as celery:
            celery.send_task(WORK, args=[Lane.TEXT], queue=Lane.TEXT, retry=False)

    def test_hints_and_counts_go_over_tls(
        self, port: int, urls: Urls, authority: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = self.url(urls, port, authority)
        set_to(monkeypatch, redis_url=url)

        self.hint()
        assert Lane.TEXT not in lanes_without_hint()
        assert len(Rates(url).count({"who": 10})) == 1

    def test_a_certificate_of_a_stranger_is_refused(
        self, port: int, urls: Urls, stranger: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = self.url(urls, port, stranger)
        set_to(monkeypatch, redis_url=url)

        with pytest.raises(NoRedis, match="certificate verify failed"):
            lanes_without_hint()
        with pytest.raises(NoBroker, match="certificate verify failed"):
            self.hint()
        assert Rates(url).count({"who": 10}) == []


class TestStorage:
    @pytest.fixture
    def endpoint(self, certificate: Path) -> Iterator[str]:
        """An object storage over TLS that has nothing."""
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Empty)
        server.socket = server_context(certificate).wrap_socket(server.socket, server_side=True)
        with serving(server):
            yield f"https://{NAME}:{server.server_port}"
        server.server_close()

    @pytest.fixture(autouse=True)
    def settings(self, installation: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
        names = ("s3_access_key", "s3_secret_key")
        named = dict.fromkeys(names, "not-a-secret")
        set_to(monkeypatch, storage_url="s3://bucket", s3_endpoint=endpoint, **named)

    def test_it_is_spoken_to_over_tls(
        self, authority: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))

        with pytest.raises(NotFound):
            storage().open("key")

    def test_a_certificate_that_nobody_vouches_for_is_refused(self) -> None:
        with pytest.raises(StorageUnavailable, match="certificate verify failed"):
            storage().open("key")


class _Empty(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Not among the tests' own lines."""
