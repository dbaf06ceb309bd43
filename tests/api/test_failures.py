"""Failures over HTTP: listed with their reasons and logs, retried by reason, job or item."""

import logging
from collections.abc import Iterator

import pytest

from shared.log import Keeping
from shared.services import retries
from tests.api.client import JOBS, Api, ok, refused, run_queued
from tests.ledger import assert_sound, execute

pytestmark = pytest.mark.usefixtures("stand_in")

FAILURES = "/api/v1/failures"


@pytest.fixture(autouse=True)
def keeping() -> Iterator[None]:
    """Lines are kept for failures, as in a worker's process."""
    handler = Keeping()
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)


def run_to_the_end() -> None:
    for _ in range(3):
        run_queued()
        execute("UPDATE queue SET available_at = now()")


def test_what_went_wrong_is_told_with_the_log_of_each_attempt(api: Api) -> None:
    job = api.submit({"fault": "raise"}, {"fault": "refuse"})
    run_to_the_end()

    raised = ok(api.get(FAILURES, job=job["id"], reason="internal: RuntimeError", order="asc"))

    assert [(each["attempt"], each["ended"]) for each in raised["data"]] == [
        (1, False),
        (2, False),
        (3, True),
    ]
    last = raised["data"][-1]
    assert last["error"]["message"] == "RuntimeError: asked to raise"
    assert "Traceback" in last["log"]
    assert f"job={job['id']}" in last["log"]
    assert "request=req_" in last["log"], "the request that made the job"
    (refusal,) = ok(api.get(FAILURES, reason="invalid_value"))["data"]
    assert ok(api.get(FAILURES, item=refusal["item"], ended="true"))["data"] == [refusal]


def test_all_of_one_reason_are_retried(api: Api) -> None:
    job = api.submit({"fault": "refuse"}, {"fault": "refuse"}, {})
    run_to_the_end()
    (reason,) = ok(api.get(f"{FAILURES}/reasons"))["data"]
    assert (reason["id"], reason["items"], reason["jobs"]) == ("invalid_value", 2, 1)

    retried = ok(api.post(f"{FAILURES}/retry", {"reason": reason["id"]}))

    assert retried == {"object": "retry", "items": 2, "jobs": [job["id"]], "more": False}
    assert ok(api.get(f"{JOBS}/{job['id']}"))["counts"]["queued"] == 2
    assert_sound()


def test_a_retry_says_when_there_is_more_than_it_takes(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "MOST_AT_ONCE", 1)
    api.submit({"fault": "refuse"}, {"fault": "refuse"})
    run_to_the_end()

    answers = [ok(api.post(f"{FAILURES}/retry", {"reason": "invalid_value"})) for _ in range(2)]

    assert [(each["items"], each["more"]) for each in answers] == [(1, True), (1, False)]


def test_a_retry_of_everything_is_not_a_slip_of_the_pen(api: Api) -> None:
    assert refused(api.post(f"{FAILURES}/retry", {}), 400)["param"] == "reason"


def test_an_id_that_no_item_has_is_refused(api: Api) -> None:
    assert refused(api.post(f"{FAILURES}/retry", {"item": "x"}), 400)["param"] == "item"
