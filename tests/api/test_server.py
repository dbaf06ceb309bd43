"""The API as gunicorn serves it: whom it believes, how it ends."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from api import server
from shared.embedded.installation import Place, programs
from tests.api.client import JOBS, Api
from tests.gunicorn import Gunicorn, gunicorn
from tests.waiting import until


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

    def follow() -> str:
        path = f"{site.address}{JOBS}/{job['id']}/events"
        return httpx.get(path, headers={**headers, "Accept": "text/event-stream"}, timeout=60).text

    with ThreadPoolExecutor() as pool:
        followed = pool.submit(follow)
        calls = [pool.submit(complete), pool.submit(complete, stream=True)]
        until(lambda: len(api.get(JOBS).get_json()["data"]) == 3)
        time.sleep(1)  # until the follower, who leaves no trace, has surely begun
        told_at = time.monotonic()
        site.process.send_signal(signal.SIGTERM)
        text = followed.result(timeout=30)
        followed_s = time.monotonic() - told_at
        answers = [each.result(timeout=30) for each in calls]
        ended = site.process.wait(timeout=30)

    assert text.startswith("retry: ")
    assert "event: end" not in text, "the client is to come back"
    assert followed_s < 5
    assert [answer.status_code for answer in answers] == [503, 503]
    assert [answer.json()["error"]["code"] for answer in answers] == ["busy", "busy"]
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
    states = [row["state"] for row in api.get(JOBS).get_json()["data"]]
    assert states == ["cancelled", "cancelled", "queued"]
    assert ended == 0
    assert time.monotonic() - told_at < server.graceful_timeout


def test_the_supervisor_is_more_patient_than_gunicorn() -> None:
    (api,) = [each for each in programs(Place("a", 1, Path(), {})) if each.name == "api"]

    assert api.grace_s > server.graceful_timeout


def test_no_process_is_replaced_because_it_has_answered_much() -> None:
    """It would take no more requests until whoever follows a training has gone."""
    assert not hasattr(server, "max_requests")
