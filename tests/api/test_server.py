"""The API as gunicorn serves it: what it refuses by itself, whom it believes, how it ends."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest

from api import server
from shared.embedded.installation import Place, programs
from tests.api.client import JOBS, Api
from tests.gunicorn import Gunicorn, gunicorn
from tests.waiting import until

LIVE = b"GET /api/v1/health/live HTTP/1.1\r\nHost: a\r\n"
END = b"Connection: close\r\n\r\n"
MALFORMED = {
    "a long address": (b"GET /v1/files?after=" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n", 414),
    "a long header": (LIVE + b"X-A: " + b"a" * 9000 + b"\r\n", 431),
    "many headers": (LIVE + b"X-A: a\r\n" * 101, 431),
    "a header without a colon": (LIVE + b"Authorization Bearer atl_secret\r\n", 400),
    "a length that is no number": (LIVE + b"Content-Length: many\r\n", 400),
    "two lengths": (LIVE + b"Content-Length: 1\r\nContent-Length: 2\r\n", 400),
    "no method": (b"/v1/files HTTP/1.1\r\nHost: a\r\n", 400),
    "a coding that nobody knows": (LIVE + b"Transfer-Encoding: snappy\r\n", 501),
    "an expectation that nobody meets": (LIVE + b"Expect: miracles\r\n", 417),
}


def parsed(answer: bytes) -> tuple[int, dict[str, str], Any]:
    """The status, the headers and the JSON of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    assert headers["content-type"] == "application/json", answer
    return int(first.split()[1]), headers, json.loads(body)


def test_what_gunicorn_refuses_by_itself_looks_like_every_other_error(installation: Path) -> None:
    with gunicorn() as site:
        answers = {what: parsed(site.say(sent + END)) for what, (sent, _) in MALFORMED.items()}
        _, usual, _ = parsed(site.say(b"GET /v1/nothing HTTP/1.1\r\nHost: a\r\n" + END))
        long_one = b"GET /v1/nothing?after=" + b"a" * 8000 + b" HTTP/1.1\r\nHost: a\r\n"
        assert parsed(site.say(long_one + END))[0] == 404, "so much is taken"

    assert {what: status for what, (status, *_) in answers.items()} == {
        what: status for what, (_, status) in MALFORMED.items()
    }
    for what, (_, headers, body) in answers.items():
        assert set(body) == {"error"}, what
        assert set(body["error"]) == {"message", "type", "param", "code"}, what
        assert "\n" not in body["error"]["message"], what
        assert headers["x-request-id"].startswith("req_"), what
        assert usual.keys() - {"server"} <= headers.keys(), what
        assert headers["content-security-policy"] == usual["content-security-policy"], what
    assert len({headers["x-request-id"] for _, headers, _ in answers.values()}) == len(answers)


def test_a_body_in_broken_chunks_is_the_clients_fault(installation: Path, api_key: str) -> None:
    sent = f"POST {JOBS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {api_key}\r\n".encode()
    sent += b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"

    with gunicorn() as site:
        status, _, body = parsed(site.say(sent + END + b"many\r\n{}\r\n0\r\n\r\n"))

    assert (status, body["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(("proxies", "scheme"), [("0", "http"), ("1", "https")])
def test_forwarded_headers_are_believed_of_as_many_proxies_as_are_set(
    installation: Path, proxies: str, scheme: str
) -> None:
    forged = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example.com"}

    with gunicorn(ATELIER_TRUSTED_PROXIES=proxies) as site:
        told = httpx.get(f"{site.address}/openapi.json", headers=forged, timeout=30).json()
        # gunicorn itself would make an environment of it.
        moved = httpx.get(f"{site.address}/openapi.json", headers={"SCRIPT_NAME": "/x"}, timeout=30)

    host = "evil.example.com" if proxies == "1" else f"127.0.0.1:{site.port}"
    assert told["servers"] == [{"url": f"{scheme}://{host}"}]
    assert moved.json()["servers"] == [{"url": site.address}]


@pytest.fixture
def site(stand_in: str, stories: str) -> Iterator[Gunicorn]:
    """A site with models and no worker, on which calls wait for a minute."""
    with gunicorn(ATELIER_WAIT_SECONDS="60") as running:
        yield running


def test_a_site_that_is_told_to_end_lets_nobody_hang(site: Gunicorn, api: Api) -> None:
    job = api.submit({})
    headers = {"Authorization": f"Bearer {api.key}"}
    call = {"model": "stories", "prompt": "Once"}

    def complete(**fields: Any) -> httpx.Response:
        path = f"{site.address}/v1/completions"
        return httpx.post(path, json={**call, **fields}, headers=headers, timeout=60)

    follows = Event()

    def follow() -> str:
        path = f"{site.address}{JOBS}/{job['id']}/events"
        asked = {**headers, "Accept": "text/event-stream"}
        with httpx.stream("GET", path, headers=asked, timeout=60) as stream:
            follows.set()
            return "".join(stream.iter_text())

    with ThreadPoolExecutor() as pool:
        followed = pool.submit(follow)
        calls = [pool.submit(complete), pool.submit(complete, stream=True)]
        until(lambda: len(api.get(JOBS).get_json()["data"]) == 3)
        assert follows.wait(timeout=30)
        site.process.send_signal(signal.SIGTERM)
        text = followed.result(timeout=30)
        goes_on = [not each.done() for each in calls]
        answers = [each.result(timeout=30) for each in calls]
        ended = site.process.wait(timeout=30)

    assert text.startswith("retry: ")
    assert "event: end" not in text, "the client is to come back"
    assert goes_on == [True, True], "calls have until shortly before the end"
    assert [answer.status_code for answer in answers] == [503, 503]
    assert [answer.json()["error"]["code"] for answer in answers] == ["busy", "busy"]
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
    states = [row["state"] for row in api.get(JOBS).get_json()["data"]]
    assert states == ["cancelled", "cancelled", "queued"]
    assert ended == 0


def test_the_supervisor_is_more_patient_than_gunicorn() -> None:
    (api,) = [each for each in programs(Place("a", 1, Path(), {})) if each.name == "api"]

    assert api.grace_s > server.graceful_timeout


def test_no_process_is_replaced_because_it_has_answered_much() -> None:
    """It would take no more requests until whoever follows a training has gone."""
    assert not hasattr(server, "max_requests")
