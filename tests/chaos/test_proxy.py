"""The faulty proxy does to a connection what its fault says, and otherwise nothing."""

import socket
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from random import Random
from time import monotonic
from typing import Any

import boto3
import httpx
import psycopg
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from redis import Redis
from redis import TimeoutError as RedisTimeoutError
from sqlalchemy import make_url

from shared.embedded.engines import Urls
from tests.ceph import Ceph
from tests.chaos.engines import Echo, Store
from tests.chaos.proxy import Fault, Proxy, proxy
from tests.threads import beside

LARGE = bytes(range(256)) * 20_000


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as server, beside(partial(server.serve_forever, 0.02), server.shutdown):
        yield server


@pytest.fixture
def faulty(store: Store) -> Iterator[Proxy]:
    """A proxy before the store."""
    with proxy("127.0.0.1", store.server_port, http=True) as standing:
        yield standing


@pytest.fixture
def client(faulty: Proxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{faulty.port}", timeout=5) as client:
        yield client


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server, beside(partial(server.serve_forever, 0.02), server.shutdown):
        yield server


@pytest.fixture
def line(echo: Echo) -> Iterator[Proxy]:
    """A proxy before a server that says back what it hears."""
    with proxy("127.0.0.1", echo.server_address[1]) as standing:
        yield standing


def connected(faulty: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", faulty.port), timeout=5)


def say(connection: socket.socket, words: bytes) -> bytes:
    """What is heard back."""
    connection.sendall(words)
    return hear(connection, len(words))


def hear(connection: socket.socket, count: int) -> bytes:
    heard = b""
    while len(heard) < count and (piece := connection.recv(1 << 16)):
        heard += piece
    return heard


def s3(endpoint: str, access_key: str = "key", secret_key: str = "secret") -> Any:
    """A client that asks once."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=10),
    )


class TestBytes:
    def test_pass_in_both_directions_at_once(self, line: Proxy) -> None:
        with (
            connected(line) as connection,
            beside(partial(connection.sendall, LARGE), stop=lambda: None),
        ):
            assert hear(connection, len(LARGE)) == LARGE

        assert line.struck == 0

    def test_pass_until_both_sides_have_said_that_nothing_more_comes(self, line: Proxy) -> None:
        with connected(line) as connection:
            connection.sendall(b"the last words")
            connection.shutdown(socket.SHUT_WR)

            assert hear(connection, 100) == b"the last words"

    def test_are_refused_on_open_connections_and_on_new_ones(self, line: Proxy) -> None:
        with connected(line) as before:
            say(before, b"hello")
            with line.showing(Fault.REFUSE):
                with pytest.raises(ConnectionResetError):
                    before.recv(1)
                with pytest.raises(ConnectionResetError), connected(line) as during:
                    during.recv(1)

        assert line.struck == 2
        with connected(line) as after:
            assert say(after, b"hello") == b"hello"

    def test_are_swallowed_in_silence_and_then_the_connections_are_reset(self, line: Proxy) -> None:
        with connected(line) as before:
            say(before, b"hello")
            with line.showing(Fault.SILENT), connected(line) as during:
                for connection in (before, during):
                    connection.settimeout(0.3)
                    with pytest.raises(TimeoutError):
                        say(connection, b"hello?")
                line.healed()
                for connection in (before, during):
                    with pytest.raises(ConnectionResetError):
                        connection.recv(1)

        assert line.struck > 0
        with connected(line) as after:
            assert say(after, b"hello") == b"hello"

    def test_come_late_when_the_line_is_slow(self, line: Proxy) -> None:
        line.delay_s = 0.2
        with connected(line) as connection:
            say(connection, b"hello")
            line.fault = Fault.SLOW
            began = monotonic()
            assert say(connection, b"hello") == b"hello"
            assert monotonic() - began >= 2 * line.delay_s
            assert line.struck == 2

            line.healed()
            assert say(connection, b"hello") == b"hello"
            assert line.struck == 2

    def test_break_off_when_the_proxy_ends_even_in_silence(self, echo: Echo) -> None:
        with proxy("127.0.0.1", echo.server_address[1]) as line:
            connections = [connected(line) for _ in range(3)]
            say(connections[0], b"hello")
            line.fault = Fault.SILENT

        for connection in connections:
            with closing(connection), pytest.raises(ConnectionResetError):
                connection.recv(1)
        with pytest.raises(ConnectionRefusedError):
            connected(line)

    def test_end_unheard_in_silence(self) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            proxy("127.0.0.1", listener.getsockname()[1]) as line,
            connected(line) as client,
            listener.accept()[0] as engine,
            line.showing(Fault.SILENT),
        ):
            client.close()
            engine.settimeout(0.3)
            with pytest.raises(TimeoutError):
                engine.recv(1)


def test_a_proxy_that_reads_no_http_shows_no_fault_of_requests(line: Proxy) -> None:
    with pytest.raises(ValueError, match="HTTP"):
        line.fault = Fault.ERROR


@pytest.mark.parametrize("http", [False, True])
def test_a_connection_is_reset_when_the_engine_is_not_there(http: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        absent = listener.getsockname()[1]

    with (
        proxy("127.0.0.1", absent, http=http) as faulty,
        pytest.raises(ConnectionResetError),
        connected(faulty) as connection,
    ):
        say(connection, b"GET / HTTP/1.1\r\n\r\n")


class TestRequests:
    def test_pass_three_over_one_connection(self, faulty: Proxy, client: httpx.Client) -> None:
        client.put("/object", content=b"content")
        answers = [client.get("/object") for _ in range(3)]

        assert [answer.content for answer in answers] == [b"content"] * 3
        streams = [answer.extensions["network_stream"] for answer in answers]
        assert len({stream.get_extra_info("client_addr") for stream in streams}) == 1

    @pytest.mark.parametrize("name", ["plain", "chunks", "endless"])
    def test_pass_however_their_end_is_told(self, client: httpx.Client, name: str) -> None:
        client.put(f"/{name}", content=iter([b"in ", b"chunks"]))
        assert client.get(f"/{name}").content == b"in chunks"

        client.put(f"/{name}", content=LARGE)
        assert client.get(f"/{name}").content == LARGE

    def test_break_where_the_engine_breaks_off(self, store: Store, client: httpx.Client) -> None:
        store.objects["/broken"] = LARGE

        with pytest.raises(httpx.TransportError):
            client.get("/broken")

    def test_pass_whose_answers_have_no_body(self, store: Store, client: httpx.Client) -> None:
        client.put("/object", content=b"content")

        assert client.head("/object").headers["Content-Length"] == "7"
        assert client.get("/object").content == b"content"
        assert client.delete("/object").status_code == 204
        assert store.objects == {}

    def test_meet_an_error_that_the_engine_never_hears_of(
        self, faulty: Proxy, store: Store, client: httpx.Client
    ) -> None:
        with faulty.showing(Fault.ERROR):
            refused = client.put("/object", content=LARGE)

        assert refused.status_code == 500
        assert "<Code>InternalError</Code>" in refused.text
        assert store.objects == {}
        assert client.put("/object", content=LARGE).status_code == 200
        assert faulty.struck == 1

    def test_meet_an_error_after_the_engine_did_what_they_ask(
        self, faulty: Proxy, store: Store, client: httpx.Client
    ) -> None:
        with faulty.showing(Fault.ERROR_AFTER):
            assert client.put("/object", content=LARGE).status_code == 500
            assert client.head("/object").status_code == 500

        assert store.objects == {"/object": LARGE}
        assert client.get("/object").content == LARGE
        assert faulty.struck == 2

    def test_lose_their_answer_after_the_engine_did_what_they_ask(
        self, faulty: Proxy, store: Store, client: httpx.Client
    ) -> None:
        with faulty.showing(Fault.LOST_ANSWER), pytest.raises(httpx.ReadError):
            client.put("/object", content=LARGE)

        assert store.objects == {"/object": LARGE}
        assert client.get("/object").content == LARGE

    def test_of_other_methods_than_those_that_are_meant_pass(
        self, faulty: Proxy, store: Store, client: httpx.Client
    ) -> None:
        faulty.methods = {"PUT"}
        store.objects["/object"] = b"content"
        with faulty.showing(Fault.ERROR):
            assert client.get("/object").content == b"content"
            assert client.put("/object", content=b"").status_code == 500

        assert faulty.struck == 1

    def test_meet_a_fault_as_often_as_their_share_and_the_same_ones_each_time(
        self, faulty: Proxy, client: httpx.Client
    ) -> None:
        faulty.share, faulty.random = 0.3, Random(7)
        with faulty.showing(Fault.ERROR):
            failed = [client.put("/object", content=b"").is_error for _ in range(50)]

        draws = Random(7)
        assert failed == [draws.random() < 0.3 for _ in range(50)]
        assert faulty.struck == sum(failed) > 0

    def test_time_out_in_silence_and_pass_after_it(
        self, faulty: Proxy, store: Store, client: httpx.Client
    ) -> None:
        client.put("/object", content=b"before")
        with faulty.showing(Fault.SILENT), pytest.raises(httpx.ReadTimeout):
            client.put("/object", content=b"during", timeout=0.3)

        assert store.objects == {"/object": b"before"}
        assert client.get("/object").content == b"before"

    def test_are_refused_with_their_connections(self, faulty: Proxy, client: httpx.Client) -> None:
        client.put("/object", content=b"before")
        with faulty.showing(Fault.REFUSE), pytest.raises(httpx.TransportError):
            client.get("/object")

        assert client.get("/object").content == b"before"


class TestRequestsThatWaitForWelcome:
    """Boto3 sends the body of a PUT when the engine has answered 100."""

    @pytest.fixture
    def bucket(self, faulty: Proxy) -> Any:
        return s3(f"http://127.0.0.1:{faulty.port}")

    @pytest.mark.parametrize("fault", [Fault.PASS, Fault.ERROR, Fault.LOST_ANSWER])
    def test_are_welcomed_before_any_of_their_body_is_sent(
        self, faulty: Proxy, store: Store, fault: Fault
    ) -> None:
        head = b"PUT /object HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        welcome = b"HTTP/1.1 100 Continue\r\n\r\n"
        with faulty.showing(fault), connected(faulty) as connection:
            connection.sendall(head)

            assert hear(connection, len(welcome)) == welcome
            assert store.objects == {}

    def test_pass(self, store: Store, bucket: Any) -> None:
        for _ in range(2):
            bucket.put_object(Bucket="bucket", Key="key", Body=LARGE)

        assert store.objects == {"/bucket/key": LARGE}
        assert store.welcomes == 2

    def test_pass_when_they_are_not_welcome(self, store: Store, bucket: Any) -> None:
        bucket.put_object(Bucket="bucket", Key="key", Body=LARGE)

        with pytest.raises(ClientError, match="412"):
            bucket.put_object(Bucket="bucket", Key="key", Body=b"other", IfNoneMatch="*")

        assert store.objects == {"/bucket/key": LARGE}
        assert bucket.get_object(Bucket="bucket", Key="key")["Body"].read() == LARGE

    @pytest.mark.parametrize(
        ("fault", "stored"), [(Fault.ERROR, {}), (Fault.ERROR_AFTER, {"/bucket/key": LARGE})]
    )
    def test_meet_errors_as_s3_words_them(
        self, faulty: Proxy, store: Store, bucket: Any, fault: Fault, stored: dict[str, bytes]
    ) -> None:
        with faulty.showing(fault), pytest.raises(ClientError, match="InternalError"):
            bucket.put_object(Bucket="bucket", Key="key", Body=LARGE)

        assert store.objects == stored

    def test_lose_their_answer(self, faulty: Proxy, store: Store, bucket: Any) -> None:
        with faulty.showing(Fault.LOST_ANSWER), pytest.raises(ConnectionClosedError):
            bucket.put_object(Bucket="bucket", Key="key", Body=LARGE)

        assert store.objects == {"/bucket/key": LARGE}


def test_a_real_s3_server_is_served_through_the_proxy_as_without_it(s3_server: Ceph) -> None:
    host, port = s3_server.endpoint.removeprefix("http://").split(":")
    with proxy(host, int(port), http=True) as faulty:
        client = s3(f"http://127.0.0.1:{faulty.port}", s3_server.access_key, s3_server.secret_key)
        client.create_bucket(Bucket="works")
        client.put_object(Bucket="works", Key="large", Body=LARGE)
        client.put_object(Bucket="works", Key="empty", Body=b"")

        assert client.get_object(Bucket="works", Key="large")["Body"].read() == LARGE
        assert client.head_object(Bucket="works", Key="large")["ContentLength"] == len(LARGE)
        listed = client.list_objects_v2(Bucket="works")["Contents"]
        assert [found["Key"] for found in listed] == ["empty", "large"]

        with faulty.showing(Fault.LOST_ANSWER), pytest.raises(ConnectionClosedError):
            client.put_object(Bucket="works", Key="lost", Body=b"content")
        assert client.get_object(Bucket="works", Key="lost")["Body"].read() == b"content"
        client.delete_object(Bucket="works", Key="lost")
        with pytest.raises(ClientError, match="404"):
            client.head_object(Bucket="works", Key="lost")


def test_redis_is_served_through_the_proxy_and_times_out_in_its_silence(urls: Urls) -> None:
    address = make_url(urls.redis)
    with proxy(address.host, address.port) as faulty:
        there = address.set(host="127.0.0.1", port=faulty.port).render_as_string(
            hide_password=False
        )
        with Redis.from_url(there, socket_timeout=0.5, retry=None) as redis:
            assert redis.ping()
            with faulty.showing(Fault.SILENT), pytest.raises(RedisTimeoutError):
                redis.ping()
            assert redis.ping()


def test_postgres_is_served_through_the_proxy_and_its_connection_breaks_when_refused(
    urls: Urls,
) -> None:
    address = make_url(urls.database)
    with proxy(address.host, address.port) as faulty:
        there = address.set(drivername="postgresql", host="127.0.0.1", port=faulty.port)
        with psycopg.connect(there.render_as_string(hide_password=False)) as session:
            rows = session.execute("SELECT repeat('x', 1000) FROM generate_series(1, 5000)")
            assert len(rows.fetchall()) == 5000
            with faulty.showing(Fault.REFUSE), pytest.raises(psycopg.OperationalError):
                session.execute("SELECT 1")
