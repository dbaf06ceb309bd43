"""Egress over TLS: a certificate must hold for the name, whatever address the name leads to."""

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.egress import Answer, post, trusted_authorities
from shared.errors import Unreachable
from tests.receiver import (
    HERE,
    NAME,
    Behaviour,
    answers,
    drips,
    reads_slowly,
    receiving,
    resolve,
    send,
)
from tests.shared.conftest import Allow
from tests.tls import make_certificate, server_context

LARGE = bytes(50_000_000)
"""More than the two ends of a connection hold for each other."""


@pytest.fixture(autouse=True)
def _allow_here(allow: Allow) -> None:
    allow(HERE)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for the name alone, with its key, signed by itself."""
    return make_certificate(tmp_path_factory.mktemp("tls"), NAME)


@pytest.fixture
def asked_for() -> list[str]:
    """The names that clients gave in their handshakes."""
    return []


@pytest.fixture
def tls(certificate: Path, asked_for: list[str]) -> ssl.SSLContext:
    context = server_context(certificate)
    context.sni_callback = lambda _, name, __: asked_for.append(name)
    return context


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    trusted_authorities.cache_clear()
    yield
    trusted_authorities.cache_clear()


@pytest.mark.usefixtures("trusted")
def test_tls_asks_for_the_name_at_the_judged_address(
    tls: ssl.SSLContext, asked_for: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = resolve(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])

    with receiving(answers(b"secret"), tls) as receiver:
        assert send(receiver, NAME) == Answer(200, "secret")

    assert asked_for == [NAME]
    assert names.asked == [NAME]
    assert f"\r\nhost: {NAME}:{receiver.port}\r\n" in receiver.heads[0]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("host", ["other.example.com", "127.0.0.1"])
def test_a_certificate_for_another_name_is_refused_before_anything_is_sent(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    resolve(monkeypatch, ["127.0.0.1"])

    with (
        receiving(answers(), tls) as receiver,
        pytest.raises(Unreachable, match="certificate is refused"),
    ):
        send(receiver, host)

    assert receiver.heads == []


def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, ["127.0.0.1"])

    with (
        receiving(answers(), tls) as receiver,
        pytest.raises(Unreachable, match="certificate is refused"),
    ):
        send(receiver, NAME)

    assert receiver.heads == []


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("behaviour", "body"),
    [(drips(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"), b""), (reads_slowly, LARGE)],
    ids=["answering", "reading"],
)
def test_a_receiver_slow_over_tls_is_given_up_in_time(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, body: bytes
) -> None:
    resolve(monkeypatch, ["127.0.0.1"])
    started = time.monotonic()

    with receiving(behaviour, tls) as receiver:
        with pytest.raises(Unreachable, match="no whole answer in time"):
            post(f"https://{NAME}:{receiver.port}/", body, {}, timeout_s=0.5)
        took_s = time.monotonic() - started

    assert 0.3 < took_s < 3
