"""Egress: a request goes to the address that was judged, once, and its answer comes back."""

import gzip
import socket

import pytest

from shared.egress import Answer, post
from shared.errors import EgressBlocked, Unreachable
from tests.receiver import HERE, NAME, Receiver, answers, drips, receiving, resolve, send
from tests.shared.conftest import Allow

METADATA = "http://169.254.169.254/latest/meta-data/"


class TestTheExchange:
    @pytest.fixture(autouse=True)
    def _allow_here(self, allow: Allow) -> None:
        allow(HERE)

    def test_a_receiver_gets_the_body_and_the_headers_and_its_answer_comes_back(self) -> None:
        with receiving(answers(b"thanks", "202 Accepted")) as receiver:
            url = f"http://127.0.0.1:{receiver.port}/hook?a=b%20c"
            answer = post(url, b'{"id": 1}', {"Webhook-Id": "evt_1", "host": "evil.example"})

        assert answer == Answer(202, "thanks")
        assert receiver.bodies == [b'{"id": 1}']
        lines = receiver.heads[0].strip().splitlines()
        assert lines[0] == "post /hook?a=b%20c http/1.1"
        assert sorted(lines[1:]) == [
            "accept-encoding: identity",
            "connection: close",
            "content-length: 9",
            f"host: 127.0.0.1:{receiver.port}",
            "webhook-id: evt_1",
        ]

    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect"])
    def test_a_redirect_comes_back_as_it_is(self, status: str) -> None:
        with receiving(answers(b"", status, f"Location: {METADATA}")) as receiver:
            answer = send(receiver)

        assert answer.status == int(status[:3])
        assert receiver.connections == 1

    @pytest.mark.parametrize("status", ["400 Bad Request", "410 Gone", "500 Internal Server Error"])
    def test_a_refusal_is_an_answer(self, status: str) -> None:
        with receiving(answers(b"no", status)) as receiver:
            assert send(receiver) == Answer(int(status[:3]), "no")

    def test_of_an_endless_answer_the_beginning_is_read(self) -> None:
        endless = drips(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1_000)

        with receiving(endless) as receiver:
            assert send(receiver) == Answer(200, "x" * 1_024)

    def test_a_compressed_answer_is_not_inflated(self) -> None:
        bomb = gzip.compress(bytes(10_000_000))

        with receiving(answers(bomb, "200 OK", "Content-Encoding: gzip")) as receiver:
            answer = send(receiver)

        assert len(answer.body) <= 1_024
        assert answer.body.startswith("\x1f\N{REPLACEMENT CHARACTER}\b")

    def test_a_body_that_is_no_text_is_made_one_that_can_be_kept(self) -> None:
        with receiving(answers(b"a\xff\x00\xe2\x82\xacb")) as receiver:
            assert send(receiver).body == "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}€b"

    def test_cookies_are_not_kept(self) -> None:
        with receiving(answers(b"", "200 OK", "Set-Cookie: a=b")) as receiver:
            send(receiver)
            send(receiver)

        assert len(receiver.heads) == 2
        assert not any("cookie" in head for head in receiver.heads)

    def test_proxies_of_the_environment_are_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")

        with receiving(answers(b"direct")) as receiver:
            assert send(receiver).body == "direct"

    def test_an_answer_before_the_body_was_read_is_an_answer(self) -> None:
        def refuse(receiver: Receiver, connection: socket.socket) -> None:
            connection.recv(16)
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")

        with receiving(refuse) as receiver:
            answer = post(f"http://127.0.0.1:{receiver.port}/", bytes(50_000_000), {})

        assert answer == Answer(413, "big")


class TestTheAddress:
    def test_a_receiver_here_is_not_called_unless_its_network_is_allowed(
        self, allow: Allow
    ) -> None:
        with receiving(answers()) as receiver:
            for host in ("127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "localhost"):
                with pytest.raises(EgressBlocked):
                    post(f"https://{host}:{receiver.port}/", b"", {})
            allow("10.0.0.0/8")
            with pytest.raises(EgressBlocked):
                send(receiver, "localhost")

        assert receiver.connections == 0

    def test_a_name_is_asked_for_once_and_the_judged_address_is_called(
        self, allow: Allow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        allow(HERE)
        names = resolve(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])

        with receiving(answers(b"judged")) as receiver:
            assert send(receiver, NAME).body == "judged"

        assert names.asked == [NAME]
        assert f"\r\nhost: {NAME}:{receiver.port}\r\n" in receiver.heads[0]

    @pytest.mark.parametrize(
        "addresses",
        [
            ["10.0.0.1"],
            ["169.254.169.254"],
            ["127.0.0.1", "10.0.0.1"],
            ["10.0.0.1", "127.0.0.1"],
            ["8.8.8.8", "127.0.0.2"],
            ["127.0.0.1", "::1"],
            ["127.0.0.1", "::ffff:10.0.0.1"],
            ["127.0.0.1", "fe80::1%1"],
        ],
        ids=",".join,
    )
    def test_a_name_that_leads_anywhere_forbidden_is_not_called(
        self, allow: Allow, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
    ) -> None:
        allow(HERE)
        names = resolve(monkeypatch, addresses)

        with receiving(answers()) as receiver, pytest.raises(EgressBlocked) as blocked:
            post(f"https://{NAME}:{receiver.port}/", b"", {})

        assert receiver.connections == 0
        assert names.asked == [NAME]
        assert "ATELIER_EGRESS_ALLOW" in blocked.value.message
        assert not any(address in blocked.value.message for address in addresses)

    def test_a_name_of_the_internet_is_not_called_in_the_clear(
        self, allow: Allow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        allow(HERE)
        resolve(monkeypatch, ["127.0.0.1", "8.8.8.8"])

        with receiving(answers()) as receiver, pytest.raises(EgressBlocked, match="https only"):
            send(receiver, NAME)

        assert receiver.connections == 0

    def test_a_name_in_another_script_is_asked_for_in_ascii(
        self, allow: Allow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = resolve(monkeypatch)

        with pytest.raises(Unreachable):
            post("https://bücher.example/", b"", {})

        assert names.asked == ["xn--bcher-kva.example"]
