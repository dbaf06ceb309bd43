"""Egress when the receiver is at fault: Unreachable, and never later than its time allows."""

import socket
import time
from threading import Event

import pytest

from shared.egress import post
from shared.errors import Unreachable
from tests.receiver import (
    HERE,
    NAME,
    Behaviour,
    Receiver,
    answers,
    drips,
    is_silent,
    reads_slowly,
    receiving,
    resolve,
    send,
)
from tests.shared.conftest import Allow


@pytest.fixture(autouse=True)
def _allow_here(allow: Allow) -> None:
    allow(HERE)


@pytest.mark.parametrize(
    "behaviour",
    [
        drips(b"", b"H"),
        drips(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        drips(b"HTTP/1.1 200 OK\r\n", b"X-Many: x\r\n"),
        drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        drips(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x"),
        drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        is_silent,
    ],
    ids=["start", "header", "headers", "interim", "body", "chunk", "silence"],
)
def test_a_slow_answer_is_given_up_in_time(behaviour: Behaviour) -> None:
    started = time.monotonic()

    with receiving(behaviour) as receiver:
        with pytest.raises(Unreachable, match="no whole answer in time"):
            send(receiver, timeout_s=0.4)
        took_s = time.monotonic() - started

    assert 0.3 < took_s < 3


def test_a_receiver_that_hardly_reads_is_given_up_in_time() -> None:
    started = time.monotonic()

    with receiving(reads_slowly) as receiver:
        url = f"http://127.0.0.1:{receiver.port}/"
        with pytest.raises(Unreachable, match="no whole answer in time"):
            post(url, bytes(50_000_000), {}, timeout_s=0.4)
        took_s = time.monotonic() - started

    assert 0.3 < took_s < 3


def test_a_handshake_is_given_up_before_the_rest_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.egress.CONNECT_S", 0.2)
    started = time.monotonic()

    with receiving(is_silent) as receiver:
        with pytest.raises(Unreachable, match="no whole answer in time"):
            post(f"https://127.0.0.1:{receiver.port}/", b"", {}, timeout_s=20)
        took_s = time.monotonic() - started

    assert took_s < 3


def test_a_name_that_is_slow_to_resolve_is_given_up_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = Event()
    monkeypatch.setattr("shared.egress.socket.getaddrinfo", lambda *_, **__: over.wait(20))
    started = time.monotonic()

    try:
        with pytest.raises(Unreachable, match="no whole answer in time"):
            post(f"https://{NAME}/", b"", {}, timeout_s=0.2)
    finally:
        over.set()

    assert time.monotonic() - started < 3


def test_a_name_that_is_not_known_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch)

    with pytest.raises(Unreachable, match=f"{NAME} cannot be reached: its name is not known"):
        post(f"https://{NAME}/", b"", {})


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with receiving(answers()) as receiver:
        pass

    with pytest.raises(Unreachable, match="refused"):
        send(receiver)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"\x15\x03\x01",
    ],
    ids=["nothing", "no HTTP", "too little", "TLS"],
)
def test_what_is_no_answer_is_unreachable(said: bytes) -> None:
    def behave(receiver: Receiver, connection: socket.socket) -> None:
        receiver.read(connection)
        connection.sendall(said)

    with receiving(behave) as receiver, pytest.raises(Unreachable, match="not HTTP"):
        send(receiver)


def test_a_receiver_that_does_not_speak_tls_is_unreachable() -> None:
    def behave(receiver: Receiver, connection: socket.socket) -> None:
        connection.recv(1_000)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with receiving(behave) as receiver, pytest.raises(Unreachable, match="TLS failed"):
        post(f"https://127.0.0.1:{receiver.port}/", b"", {})
