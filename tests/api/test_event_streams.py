"""Events as they happen: a stream that can be taken up again, ends with its job, and leaves nothing
behind when its client goes.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import enumerate as enumerate_threads
from typing import Any

import httpx
import pytest

from api import server, waiters
from api.routes import event_stream
from shared import db
from shared.db import transaction
from shared.services import events
from tests.api.client import JOBS, Api, ok, refused, run_queued
from tests.benchmarks import requests
from tests.waiting import until

STREAM = {"Accept": "text/event-stream"}

pytestmark = pytest.mark.usefixtures("stand_in")


def stream(
    api: Api, job: dict[str, Any], headers: dict[str, str] | None = None, **query: Any
) -> Any:
    """The answer to a request for the stream of a job that is over, whole."""
    path = f"{JOBS}/{job['id']}/events"
    return api.request("GET", path, headers={**STREAM, **(headers or {})}, query_string=query)


def parsed(text: str) -> list[dict[str, Any]]:
    """The events of a stream, each with its `event`, `data` and, if it has one, `id`."""
    blocks = [block for block in text.split("\n\n") if "event: " in block]
    found = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]
    return [event | {"data": json.loads(event["data"])} for event in found]


def tell(job: dict[str, Any], *messages: str) -> None:
    with transaction() as session:
        for message in messages:
            events.add_event(session, job["id"], "metrics", message, {"loss": 0.5})


def listed(api: Api, job: dict[str, Any]) -> list[dict[str, Any]]:
    return ok(api.get(f"{JOBS}/{job['id']}/events", order="asc"))["data"]


def test_a_stream_has_every_event_of_the_list_and_then_the_job(api: Api) -> None:
    job = api.submit({})
    tell(job, "first", "second")
    run_queued()

    response = stream(api, job)

    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.headers["Cache-Control"] == "no-store"
    *told, end = parsed(response.text)
    assert [event["data"] for event in told] == listed(api, job)
    assert [event["id"] for event in told] == [event["data"]["id"] for event in told]
    assert [event["event"] for event in told] == [event["data"]["type"] for event in told]
    assert (end["event"], "id" in end) == ("end", False)
    assert end["data"] == ok(api.get(f"{JOBS}/{job['id']}"))


def test_it_goes_on_after_the_last_event_that_was_seen(api: Api) -> None:
    job = api.submit({})
    tell(job, *(f"message {number}" for number in range(250)))
    run_queued()
    everything = parsed(stream(api, job).text)
    seen = everything[120]

    assert parsed(stream(api, job, {"Last-Event-ID": seen["id"]}).text) == everything[121:]
    assert parsed(stream(api, job, after=seen["id"]).text) == everything[121:]
    refused(stream(api, job, {"Last-Event-ID": seen["id"]}, limit=5), 400)


def test_only_events_of_a_type_can_be_followed(api: Api) -> None:
    job = api.submit({})
    tell(job, "first")
    run_queued()

    told = parsed(stream(api, job, type="metrics").text)

    assert [event["event"] for event in told] == ["metrics", "end"]


@pytest.mark.parametrize("query", [{"limit": 5}, {"order": "asc"}, {"before": "9"}, {"x": "y"}])
def test_what_only_a_list_takes_is_refused(api: Api, query: dict[str, Any]) -> None:
    job = api.submit({})

    assert [refused(stream(api, job, **query), 400)["param"]] == list(query)


def test_a_last_event_that_is_none_is_refused(api: Api) -> None:
    error = refused(stream(api, api.submit({}), {"Last-Event-ID": "x"}), 400)

    assert error["param"] == "Last-Event-ID"


def test_who_does_not_ask_for_a_stream_gets_the_list(api: Api) -> None:
    path = f"{JOBS}/{api.run({})['id']}/events"

    for accepted in ("*/*", "application/json", "application/json, text/event-stream;q=0.5"):
        assert ok(api.request("GET", path, headers={"Accept": accepted}))["object"] == "list"


def test_another_tenants_job_has_no_stream(api: Api, stranger: Api) -> None:
    refused(stream(stranger, api.submit({})), 404)


@contextmanager
def following(address: str, api: Api, job: dict[str, Any]) -> Iterator[Iterator[str]]:
    """The lines of a stream while they come."""
    headers = {**STREAM, "Authorization": f"Bearer {api.key}"}
    path = f"{address}{JOBS}/{job['id']}/events"
    with httpx.stream("GET", path, headers=headers, timeout=30) as response:
        assert response.status_code == 200
        yield response.iter_lines()


def test_events_come_while_they_happen_and_no_connection_is_held(address: str, api: Api) -> None:
    job = api.submit({})
    with following(address, api, job) as lines:
        for message in ("first", "second"):
            tell(job, message)
            assert next(line for line in lines if message in line).startswith("data: ")
            until(lambda: not any(pool.pool.checkedout() for pool in db._pools.values()))
        run_queued()
        assert "event: end" in list(lines)


def test_a_client_that_leaves_is_noticed_and_leaves_no_thread(
    address: str, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "ALIVE_EVERY_S", 0.1)
    monkeypatch.setattr(event_stream, "LOOK_EVERY_S", 0.05)
    job = api.submit({})
    before = set(enumerate_threads())
    with following(address, api, job) as lines:
        assert next(line for line in lines if line.startswith(": "))
        assert waiters.FOLLOWERS.taken == 1

    until(lambda: waiters.FOLLOWERS.taken == 0)
    until(lambda: set(enumerate_threads()) <= before)


def test_no_more_follow_than_may_and_calls_have_places_of_their_own(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = api.run({})
    monkeypatch.setattr(waiters.CALLS, "most", 0)
    assert parsed(stream(api, job).text), "however many calls wait"
    monkeypatch.setattr(waiters.FOLLOWERS, "most", 0)

    response = stream(api, job)

    assert refused(response, 503)["code"] == "busy"
    assert int(response.headers["Retry-After"]) > 0


def test_eight_threads_answer_though_every_place_is_taken() -> None:
    assert server.threads == waiters.CALLS.most + waiters.FOLLOWERS.most + 8


def test_the_bare_application_of_the_benchmarks_has_as_many_threads() -> None:
    (threads,) = re.findall(r"--threads\", \"(\d+)", Path(requests.__file__).read_text("utf-8"))

    assert int(threads) == server.threads


def test_a_process_that_is_to_end_breaks_the_stream_off_without_an_end(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = api.submit({})
    tell(job, "first")
    monkeypatch.setattr(waiters, "ENDING", waiters.Ending())
    waiters.ENDING.begin(killed_in_s=10)

    told = parsed(stream(api, job).text)

    assert [event["data"]["message"] for event in told] == ["first"]
    assert waiters.FOLLOWERS.taken == 0


def test_a_database_that_is_away_breaks_the_stream_off_without_an_end(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = api.run({})

    def away(*_: Any) -> Any:
        raise event_stream.exc.OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr(event_stream, "_look", away)

    assert parsed(stream(api, job).text) == []
    assert waiters.FOLLOWERS.taken == 0
