"""Jobs: submitted, looked at, listed, cancelled, paused, retried; their items and events."""

import json
import time
from itertools import chain
from pathlib import Path

import pytest

from shared.errors import Invalid
from tests.api.client import JOBS, Api, ok, refused, run_queued, walk
from tests.ledger import assert_sound, execute, finish, take
from tests.statements import caught
from worker.sweeper import sweep_once

pytestmark = pytest.mark.usefixtures("stand_in")


class TestSubmit:
    def test_an_accepted_job_waits_and_says_so(self, api: Api) -> None:
        job = api.submit({}, {}, priority=3, metadata={"order": "7"})

        assert (job["object"], job["kind"], job["state"]) == ("job", "generation", "queued")
        assert job["counts"] == {
            "total": 2,
            "queued": 2,
            "running": 0,
            "done": 0,
            "failed": 0,
            "cancelled": 0,
            "expired": 0,
        }
        assert (job["priority"], job["metadata"]) == (3, {"order": "7"})
        assert (job["progress"], job["position"]) == (0, 2)
        assert (job["started_at"], job["finished_at"], job["error"]) == (None, None, None)
        assert ok(api.get(f"{JOBS}/{job['id']}")) == job

    def test_a_job_that_ran_tells_times_and_no_position(self, api: Api) -> None:
        job = api.run({}, {})

        assert (job["state"], job["counts"]["done"], job["progress"]) == ("succeeded", 2, 1)
        assert job["created_at"] <= job["started_at"] <= job["finished_at"]
        assert job["position"] is None
        assert_sound()

    def test_when_it_ends_is_told_once_its_pace_is_known(self, api: Api) -> None:
        job = api.submit(*[{}] * 80)
        finish(take(2))
        execute("UPDATE jobs SET started_at = now() - interval '100 seconds'")
        assert ok(api.get(f"{JOBS}/{job['id']}"))["expected_at"] is None

        finish(take(14))
        finish(take(4))

        expected = ok(api.get(f"{JOBS}/{job['id']}"))["expected_at"]
        assert expected - time.time() == pytest.approx(300, abs=10)  # a quarter took 100 s
        run_queued()
        assert ok(api.get(f"{JOBS}/{job['id']}"))["expected_at"] is None

    def test_a_version_can_be_named(self, api: Api) -> None:
        assert api.submit({}, model="stand-in@1")["model"] == "stand-in@1"


class TestInputFile:
    def submit_file(self, api: Api, content: bytes) -> dict:
        file = ok(api.upload(content))
        body = {"kind": "generation", "model": "stand-in", "input_file": file["id"]}
        job = ok(api.post(JOBS, body), 202)
        assert (job["state"], job["input_file"]) == ("validating", file["id"])
        run_queued()
        return ok(api.get(f"{JOBS}/{job['id']}"))

    def lines(self, api: Api, file_id: str) -> list[dict]:
        content = api.get(f"/v1/files/{file_id}/content").data
        return [json.loads(line) for line in content.splitlines()]

    def test_its_lines_become_items_and_a_file_of_results(self, api: Api) -> None:
        job = self.submit_file(
            api,
            b'\xef\xbb\xbf{"custom_id": "a", "params": {"seed": 4}}\n'
            b'\n{"custom_id": "b", "params": {"fault": "refuse"}}\r\n'
            b'{"params": {"n": 2, "seed": 8}}',
        )

        assert (job["state"], job["counts"]["done"], job["counts"]["failed"]) == ("partial", 2, 1)
        first, third = self.lines(api, job["output_file"])
        assert (first["custom_id"], first["item"]) == ("a", 0)
        assert [output["text"] for output in first["outputs"]] == ["seed 4"]
        assert [output["text"] for output in third["outputs"]] == ["seed 8", "seed 9"]
        (refusal,) = self.lines(api, job["error_file"])
        assert (refusal["custom_id"], refusal["error"]["param"]) == ("b", "seed")
        assert_sound()

    def test_of_a_line_that_never_ends_no_more_is_read_than_one_may_have(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("shared.services.lines._MOST_BYTES", 100)

        job = self.submit_file(api, b'{"params": {}}\n{"params": {"shape": "' + b"a" * 1000)

        assert (job["state"], job["error"]["param"]) == ("failed", "line 2")
        assert "longer than 100 bytes" in job["error"]["message"]

    def test_a_job_whose_results_could_not_be_written_writes_them_when_retried(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise Invalid("a fault of this code")

        with monkeypatch.context() as patch:
            patch.setattr("worker.batches._write", broken)
            job = self.submit_file(api, b'{"params": {"seed": 4}}')
        assert (job["state"], job["counts"]["done"]) == ("failed", 1)

        again = ok(api.post(f"{JOBS}/{job['id']}/retry"))
        run_queued()

        assert again["state"] == "finalizing"
        ended = ok(api.get(f"{JOBS}/{job['id']}"))
        assert (ended["state"], ended["error"]) == ("succeeded", None)
        assert len(self.lines(api, ended["output_file"])) == 1
        assert_sound()

    @pytest.mark.parametrize(
        ("content", "named"),
        [
            (b'{"params": {}}\n{"params": {"sedd": 1}}', "line 2.params.sedd"),
            (b'{"params": {}}\n{"params": {}', "line 2: not JSON: column 14: expecting ','"),
            ('{"params": {}}'.encode("utf-16"), "line 1: not JSON: byte 1 is not UTF-8"),
            ('{"params": {}}'.encode("utf-16-le"), "line 1: not JSON: it holds the character NUL"),
            (b'{"params": {}}\n{"custom_id": "\xff"}', "line 2: not JSON: byte 16 is not UTF-8"),
            (b'{"params": {}, "id": 1}', "line 1.id: there is no such field"),
            (b'{"custom_id": 1, "params": {}}', "line 1.custom_id"),
            (b'{"custom_id": "a", "params": {}}\n' * 2, "line 2.custom_id: 'a' occurs twice"),
            (b'{"custom_id": "\\u0000", "params": {}}', "line 1.custom_id"),
            (b'{"params": {"shape": "\\u0000"}}', "line 1.params"),
            (b"\n\n", "no lines"),
            (b'{"params": {"seconds": NaN}}', "line 1: not JSON: NaN is not a number of JSON"),
            (b"[" * 100_000, "line 1: not JSON: nested too deep"),
            (b'{"params": {"seed": ' + b"1" * 5000 + b"}}", "line 1: not JSON"),
        ],
    )
    def test_a_bad_line_refuses_the_file_and_is_named(
        self, api: Api, content: bytes, named: str
    ) -> None:
        job = self.submit_file(api, content)

        assert (job["state"], job["counts"]["total"]) == ("failed", 0)
        assert job["error"]["code"] == "invalid_input_file"
        assert named in job["error"]["message"]
        assert_sound()

    def test_a_line_number_is_that_of_the_file_though_lines_above_are_blank(self, api: Api) -> None:
        job = self.submit_file(api, b'\n\n{"params": {}}\n\n{"params": {"sedd": 1}}\n')

        assert "line 5.params.sedd" in job["error"]["message"]


class TestList:
    def test_pages_of_each_size_and_order_give_every_job_once(self, api: Api) -> None:
        made = [api.submit({})["id"] for _ in range(45)]

        def fetch(**query):
            return api.get(JOBS, **query)

        falling = list(walk(fetch, limit=10))
        rising = list(walk(fetch, limit=45, order="asc"))

        assert [len(page) for page in falling] == [10, 10, 10, 10, 5]
        assert list(chain(*falling)) == made[::-1]
        assert list(chain(*rising)) == made
        self.check_before(api, made)

    def check_before(self, api: Api, made: list[str]) -> None:
        page = ok(api.get(JOBS, before=made[30], limit=10, order="asc"))
        assert [job["id"] for job in page["data"]] == made[20:30]
        assert page["has_more"]
        page = ok(api.get(JOBS, before=made[5], limit=10, order="asc"))
        assert [job["id"] for job in page["data"]] == made[:5]
        assert not page["has_more"]
        between = ok(api.get(JOBS, after=made[30], before=made[20], limit=100))
        assert [job["id"] for job in between["data"]] == made[29:20:-1]

    def test_filters_choose_by_state_kind_and_model(self, api: Api) -> None:
        done = api.run({})["id"]
        waiting = api.submit({}, model="stand-in@1")["id"]

        def ids(**query: str) -> list[str]:
            return [job["id"] for job in ok(api.get(JOBS, **query))["data"]]

        assert ids(state="succeeded") == [done]
        assert ids(model="stand-in@1") == [waiting]
        assert ids(kind="training") == []
        assert ids(kind="generation") == [waiting, done]

    def test_an_empty_list_has_the_shape_of_every_list(self, api: Api) -> None:
        assert ok(api.get(JOBS)) == {
            "object": "list",
            "data": [],
            "first_id": None,
            "last_id": None,
            "has_more": False,
        }


class TestCancel:
    def test_a_waiting_job_is_cancelled_at_once(self, api: Api) -> None:
        job = api.submit({}, {})

        cancelled = ok(api.post(f"{JOBS}/{job['id']}/cancel"))

        assert (cancelled["state"], cancelled["counts"]["cancelled"]) == ("cancelled", 2)
        assert_sound()

    def test_a_job_that_has_ended_cannot_be_cancelled_and_clients_need_not_try_again(
        self, api: Api
    ) -> None:
        job = api.run({})

        response = api.post(f"{JOBS}/{job['id']}/cancel")

        assert refused(response, 409)["code"] == "conflict"
        assert response.headers["x-should-retry"] == "false"


class TestRetry:
    def test_only_what_is_not_done_runs_again(self, api: Api, tmp_path: Path) -> None:
        raising = {"fault": f"once:{tmp_path / 'marker'}", "shape": "alone"}
        job = api.run({"seed": 1}, raising)
        ok(api.post(f"{JOBS}/{job['id']}/cancel"))

        again = ok(api.post(f"{JOBS}/{job['id']}/retry"))
        assert (again["state"], again["counts"]["done"], again["counts"]["queued"]) == (
            "queued",
            1,
            1,
        )
        run_queued()

        ended = ok(api.get(f"{JOBS}/{job['id']}"))
        assert (ended["state"], ended["counts"]["done"]) == ("succeeded", 2)
        assert_sound()

    def test_a_retried_job_is_not_shown_as_almost_over(self, api: Api) -> None:
        job = api.submit({}, {})
        ok(api.post(f"{JOBS}/{job['id']}/cancel"))

        again = ok(api.post(f"{JOBS}/{job['id']}/retry"))

        assert (again["progress"], again["finished_at"]) == (0, None)

    def test_a_job_that_waits_or_is_all_done_cannot_be_retried(self, api: Api) -> None:
        done = api.run({})
        waiting = api.submit({})

        for job in (done, waiting):
            assert refused(api.post(f"{JOBS}/{job['id']}/retry"), 409)["code"] == "conflict"
        assert_sound()


class TestItemsAndEvents:
    def test_items_tell_what_became_of_each(self, api: Api) -> None:
        job = api.run({"seed": 5}, {"fault": "refuse"})

        items = ok(api.get(f"{JOBS}/{job['id']}/items", order="asc"))["data"]

        assert [item["state"] for item in items] == ["done", "failed"]
        assert [item["seq"] for item in items] == [0, 1]
        assert items[0]["params"]["seed"] == 5
        assert items[1]["error"]["code"] == "invalid_value"
        assert isinstance(items[1]["params"]["seed"], int), "a seed was drawn at acceptance"

    def test_pages_of_items_give_every_item_once(self, api: Api) -> None:
        job = api.submit(*[{"seed": seed} for seed in range(45)])

        pages = list(walk(lambda **query: api.get(f"{JOBS}/{job['id']}/items", **query), limit=7))

        ids = list(chain(*pages))
        assert len(ids) == len(set(ids)) == 45

    def test_events_tell_its_states_in_order_and_can_be_read_on(self, api: Api) -> None:
        job = api.submit({})
        ok(api.post(f"{JOBS}/{job['id']}/cancel"))

        page = ok(api.get(f"{JOBS}/{job['id']}/events", order="asc", limit=1))
        rest = ok(api.get(f"{JOBS}/{job['id']}/events", order="asc", after=page["last_id"]))

        told = [event["message"] for event in page["data"] + rest["data"]]
        assert told[-2:] == ["cancelling", "cancelled"]
        assert page["has_more"]

    @pytest.mark.parametrize("list_", ["items", "events"])
    @pytest.mark.parametrize("field", ["after", "before"])
    def test_a_cursor_that_is_no_id_is_refused_naming_it(
        self, api: Api, list_: str, field: str
    ) -> None:
        job = api.submit({})

        response = api.get(f"{JOBS}/{job['id']}/{list_}", **{field: "x"})

        assert refused(response, 400)["param"] == field


class TestPausesAndDeadlines:
    def test_a_job_is_paused_and_resumed(self, api: Api) -> None:
        job = api.submit({}, {})

        paused = ok(api.post(f"{JOBS}/{job['id']}/pause"))
        assert (paused["state"], paused["position"]) == ("paused", None)
        run_queued()
        assert ok(api.get(f"{JOBS}/{job['id']}"))["counts"]["queued"] == 2

        assert ok(api.post(f"{JOBS}/{job['id']}/resume"))["state"] == "queued"
        run_queued()
        assert ok(api.get(f"{JOBS}/{job['id']}"))["state"] == "succeeded"

    def test_an_ended_job_cannot_be_paused(self, api: Api) -> None:
        job = api.run({})

        error = refused(api.post(f"{JOBS}/{job['id']}/pause"), 409)

        assert "only a queued or running job can be paused" in error["message"]

    def test_a_deadline_is_kept_and_ends_what_has_not_started(self, api: Api) -> None:
        deadline = int(time.time()) + 3600
        job = api.submit({}, deadline=deadline)
        assert job["deadline"] == deadline

        execute("UPDATE jobs SET deadline = now()")
        sweep_once()

        ended = ok(api.get(f"{JOBS}/{job['id']}"))
        assert (ended["state"], ended["counts"]["expired"]) == ("expired", 1)

    def test_a_file_that_was_not_looked_at_in_time_has_expired(self, api: Api) -> None:
        file = ok(api.upload(b'{"params": {}}'))
        body = {"kind": "generation", "model": "stand-in", "input_file": file["id"]}
        job = ok(api.post(JOBS, {**body, "deadline": int(time.time()) + 3600}), 202)

        execute("UPDATE jobs SET deadline = now()")
        sweep_once()
        run_queued()

        assert ok(api.get(f"{JOBS}/{job['id']}"))["state"] == "expired"
        assert_sound()

    def test_a_deadline_that_has_passed_is_refused(self, api: Api) -> None:
        body = {"kind": "generation", "model": "stand-in", "items": [{"params": {}}], "deadline": 9}

        assert refused(api.post(JOBS, body), 400)["param"] == "deadline"


def test_a_page_of_many_jobs_that_wait_costs_as_many_statements_as_one_of_few(api: Api) -> None:
    for _ in range(6):
        api.submit({}, {})

    def asked(limit: int) -> int:
        with caught() as statements:
            page = ok(api.get(JOBS, limit=limit))["data"]
        assert [job["position"] for job in page] == [12] * limit
        return len(statements)

    assert asked(6) == asked(2)
