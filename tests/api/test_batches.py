"""Batches that end early: cancelled, expired, retried; step by step, without workers beside."""

import json
from typing import Any

import pytest

from shared.states import Lane
from tests.api.client import Api, ok, refused, run_queued
from tests.ledger import assert_sound, execute
from tests.settings import forget_settings
from worker.runner import drain
from worker.sweeper import sweep_once

BATCHES = "/v1/batches"
pytestmark = pytest.mark.usefixtures("stories")


def submit(api: Api, count: int, **fields: Any) -> dict[str, Any]:
    body = {"model": "stories", "prompt": "Once", "max_tokens": 2}
    lines = [
        {"custom_id": str(n), "method": "POST", "url": "/v1/completions", "body": body}
        for n in range(count)
    ]
    file = ok(api.upload("\n".join(map(json.dumps, lines)).encode()))
    asked = {"endpoint": "/v1/completions", "completion_window": "24h", **fields}
    return ok(api.post(BATCHES, {"input_file_id": file["id"], **asked}))


def look(api: Api, batch: dict[str, Any]) -> dict[str, Any]:
    return ok(api.get(f"{BATCHES}/{batch['id']}"))


def lines(api: Api, file_id: str) -> list[dict[str, Any]]:
    content = api.get(f"/v1/files/{file_id}/content").data
    return [json.loads(each) for each in content.splitlines()]


def run_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run 16 items, as a worker whose turn is over after its first claim."""
    with monkeypatch.context() as patch:
        patch.setattr("worker.runner._TURN_S", -1.0)
        drain(Lane.TEXT)


def _break(*_: Any) -> None:
    raise RuntimeError("broken")


class TestEnded:
    def test_a_cancelled_batch_keeps_what_is_done_and_lists_the_rest(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batch = submit(api, 20)
        assert batch["status"] == "validating"
        drain(Lane.LIGHT)
        assert look(api, batch)["status"] == "in_progress"
        run_a_few(monkeypatch)

        told = ok(api.post(f"{BATCHES}/{batch['id']}/cancel"))
        stopping = ok(api.get(f"/api/v1/jobs/{batch['id']}"))
        listed = ok(api.get(BATCHES))["data"]
        run_queued()

        assert (told["status"], stopping["state"]) == ("cancelling", "finalizing")
        assert [each["status"] for each in listed] == ["cancelling"]
        ended = look(api, batch)
        assert ended["status"] == "cancelled"
        assert ended["cancelling_at"] <= ended["cancelled_at"]
        assert (told["finalizing_at"], ended["finalizing_at"]) == (None, None)
        assert ended["request_counts"] == {"total": 20, "completed": 16, "failed": 0}
        assert len(lines(api, ended["output_file_id"])) == 16
        undone = lines(api, ended["error_file_id"])
        assert {each["error"]["code"] for each in undone} == {"batch_cancelled"}
        assert {each["response"] for each in undone} == {None}
        assert_sound()

    def test_a_batch_cancelled_before_its_file_is_read_has_nothing(self, api: Api) -> None:
        batch = submit(api, 2)

        ok(api.post(f"{BATCHES}/{batch['id']}/cancel"))
        run_queued()

        ended = look(api, batch)
        assert (ended["status"], ended["output_file_id"]) == ("cancelled", None)
        refused(api.post(f"{BATCHES}/{batch['id']}/cancel"), 409)
        assert_sound()

    def test_what_has_not_started_when_the_window_closes_expires(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batch = submit(api, 20, completion_window="30m")
        drain(Lane.LIGHT)
        run_a_few(monkeypatch)
        execute("UPDATE jobs SET deadline = now() - interval '1 second'")

        sweep_once()
        run_queued()

        ended = look(api, batch)
        assert (ended["status"], ended["completion_window"]) == ("expired", "30m")
        assert ended["expired_at"] is not None
        assert len(lines(api, ended["output_file_id"])) == 16
        undone = lines(api, ended["error_file_id"])
        assert {each["error"]["code"] for each in undone} == {"batch_expired"}
        assert {each["response"] for each in undone} == {None}
        assert_sound()

    def test_what_fails_in_every_attempt_is_told_as_a_call_would_be(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ATELIER_MAX_ATTEMPTS", "1")
        forget_settings()
        monkeypatch.setattr("worker.text.causal_lm.family.generate", _break)
        batch = submit(api, 1)

        run_queued()

        (line,) = lines(api, look(api, batch)["error_file_id"])
        assert line["error"] is None
        assert line["response"]["status_code"] == 500
        assert line["response"]["body"]["error"] == {
            "message": "RuntimeError: broken",
            "type": "server_error",
            "param": None,
            "code": "generation_failed",
        }

    def test_the_same_key_makes_one_batch(self, api: Api) -> None:
        file = ok(api.upload(b"{}"))
        body = {
            "input_file_id": file["id"],
            "endpoint": "/v1/completions",
            "completion_window": "24h",
        }

        first = ok(api.post(BATCHES, body, idempotency_key="a"))

        assert ok(api.post(BATCHES, body, idempotency_key="a"))["id"] == first["id"]
        assert len(ok(api.get(BATCHES))["data"]) == 1

    def test_another_tenant_sees_none_of_it(self, api: Api, stranger: Api) -> None:
        batch = submit(api, 1)

        refused(stranger.get(f"{BATCHES}/{batch['id']}"), 404)
        refused(stranger.post(f"{BATCHES}/{batch['id']}/cancel"), 404)
        assert ok(stranger.get(BATCHES))["data"] == []
