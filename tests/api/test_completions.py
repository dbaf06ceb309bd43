"""Completions: a job that is waited for, in the shape of the OpenAI API, with real weights."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.openai.waiting import cancel, is_over
from shared.db import reading
from shared.services import jobs
from shared.settings import settings
from shared.states import Lane
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, ok, refused
from tests.statements import caught
from tests.threads import draining
from tests.waiting import until
from worker.runner import drain

COMPLETIONS = "/v1/completions"
STORY = {"model": "stories", "prompt": "Once upon a time", "max_tokens": 8, "seed": 1}


@pytest.fixture
def worker(stories: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker of lane `text` in a thread, and callers who wait until it has loaded torch."""
    monkeypatch.setenv("ATELIER_WAIT_SECONDS", "240")
    settings.cache_clear()
    with draining(Lane.TEXT):
        yield


@pytest.mark.usefixtures("stories", "worker")
class TestAnswered:
    def test_the_same_call_under_the_same_key_makes_one_job(self, api: Api) -> None:
        first = ok(api.post(COMPLETIONS, STORY, idempotency_key="a"))

        again = ok(api.post(COMPLETIONS, STORY, idempotency_key="a"))

        assert again["choices"] == first["choices"]
        assert len(ok(api.get(JOBS))["data"]) == 1

    def test_prompts_are_continued_each_n_times_in_order(self, api: Api) -> None:
        prompts = ["Once upon a time", "The dog"]

        answer = ok(api.post(COMPLETIONS, {**STORY, "prompt": prompts, "n": 2}))

        assert (answer["object"], answer["model"]) == ("text_completion", "stories@1")
        assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
        assert all(choice["text"] for choice in answer["choices"])
        assert {choice["finish_reason"] for choice in answer["choices"]} == {"length"}
        usage = answer["usage"]
        assert usage["completion_tokens"] == 4 * 8
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]

    def test_a_seed_gives_the_same_text_again_and_echo_puts_the_prompt_before_it(
        self, api: Api
    ) -> None:
        first = ok(api.post(COMPLETIONS, STORY))["choices"][0]["text"]

        again = ok(api.post(COMPLETIONS, {**STORY, "echo": True}))["choices"][0]["text"]

        assert again == STORY["prompt"] + first

    def test_the_call_is_a_job_like_any_other(self, api: Api) -> None:
        answer = ok(api.post(COMPLETIONS, STORY))

        job = ok(api.get(f"{JOBS}/{answer['id']}"))
        assert (job["kind"], job["state"], job["model"]) == ("generation", "succeeded", "stories")


@pytest.mark.usefixtures("stories")
class TestRefused:
    @pytest.mark.parametrize(
        ("change", "status", "param"),
        [
            ({"model": "none"}, 404, "model"),
            ({"max_tokens": 0}, 400, "max_tokens"),
            ({"max_tokens": 512}, 400, "max_tokens"),
            ({"max_tokens": "many"}, 400, "max_tokens"),
            ({"temperature": 3}, 400, "temperature"),
            ({"top_p": -0.1}, 400, "top_p"),
            ({"n": 17}, 400, "n"),
            ({"stop": ["a"] * 5}, 400, "stop"),
            ({"prompt": []}, 400, "prompt"),
            ({"prompt": ["a"] * 17}, 400, "prompt"),
            ({"prompt": ["a", "b" * 200_001]}, 400, "prompt[1]"),
            ({"presence_penalty": 0.5}, 400, "presence_penalty"),
            ({"best_of": 2}, 400, "best_of"),
        ],
    )
    def test_a_bad_call_names_its_field_and_makes_no_job(
        self, api: Api, change: dict[str, Any], status: int, param: str
    ) -> None:
        error = refused(api.post(COMPLETIONS, {**STORY, **change}), status)

        assert error["param"] == param
        assert error["message"].startswith(param)
        assert ok(api.get(JOBS))["data"] == []

    def test_a_model_of_another_kind_of_content_is_refused(self, api: Api) -> None:
        body = {"model": "stories", "n": 1}

        assert refused(api.post("/v1/images/generations", body), 400)["param"] == "model"


def waiting_job(api: Api) -> dict[str, Any]:
    """The one job there is, once there is one."""
    (job,) = until(lambda: ok(api.get(JOBS))["data"])
    return job


@pytest.mark.usefixtures("stories")
class TestCancelledByAnother:
    @pytest.fixture(autouse=True)
    def _patient(self, stories: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ATELIER_WAIT_SECONDS", "60")
        settings.cache_clear()

    @pytest.mark.parametrize(
        "key", [{"idempotency_key": "a"}, {"x_stainless_retry_count": "0"}, {}]
    )
    @pytest.mark.parametrize("stream", [False, True])
    def test_a_call_says_so_and_is_not_to_be_repeated(
        self, api: Api, key: dict[str, str], stream: bool
    ) -> None:
        body = {**STORY, "stream": stream}
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(api.post, COMPLETIONS, body, **key)
            ok(api.post(f"{JOBS}/{waiting_job(api)['id']}/cancel"))
            response = call.result()

        assert refused(response, 409)["code"] == "cancelled"
        assert response.headers["x-should-retry"] == "false"

    def test_under_its_key_it_stays_cancelled(self, api: Api) -> None:
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(api.post, COMPLETIONS, STORY, idempotency_key="a")
            ok(api.post(f"{JOBS}/{waiting_job(api)['id']}/cancel"))
            refused(call.result(), 409)

        assert (
            refused(api.post(COMPLETIONS, STORY, idempotency_key="a"), 409)["code"] == "cancelled"
        )
        assert len(ok(api.get(JOBS))["data"]) == 1

    def test_an_equal_request_whose_time_was_up_lets_it_be_tried_again(
        self, api: Api, tenant: Tenant
    ) -> None:
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(api.post, COMPLETIONS, STORY, idempotency_key="a")
            id_ = waiting_job(api)["id"]
            with reading() as session:
                job = jobs.get(session, tenant.id, id_)
            assert cancel(job, "a"), "as the request does whose time is up"
            response = call.result()

        assert refused(response, 503)["code"] == "busy"
        assert "x-should-retry" not in response.headers


@pytest.mark.usefixtures("stories")
class TestWithoutAWorker:
    @pytest.fixture(autouse=True)
    def _impatient(self, stories: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ATELIER_WAIT_SECONDS", "0.2")
        settings.cache_clear()

    def test_the_call_is_cancelled_before_503_says_to_try_again(self, api: Api) -> None:
        response = api.post(COMPLETIONS, STORY)

        assert refused(response, 503)["code"] == "busy"
        assert int(response.headers["Retry-After"]) > 0
        (job,) = ok(api.get(JOBS))["data"]
        assert job["state"] == "cancelled"

    def test_its_idempotency_key_may_be_used_again_afterwards(self, api: Api) -> None:
        refused(api.post(COMPLETIONS, STORY, idempotency_key="a"), 503)

        refused(api.post(COMPLETIONS, STORY, idempotency_key="a"), 503)

        assert len(ok(api.get(JOBS))["data"]) == 2

    def test_a_client_that_prefers_so_gets_the_job_instead(self, api: Api) -> None:
        job = ok(api.post(COMPLETIONS, STORY, prefer="respond-async"), 202)

        assert (job["object"], job["state"]) == ("job", "queued")
        drain(Lane.TEXT)
        assert ok(api.get(f"{JOBS}/{job['id']}"))["state"] == "succeeded"

    def test_what_waits_reads_the_state_alone(self, api: Api, tenant: Tenant) -> None:
        id_ = ok(api.post(COMPLETIONS, STORY, prefer="respond-async"), 202)["id"]
        with reading() as session:
            job = jobs.get(session, tenant.id, id_)

        with caught() as statements:
            assert not is_over(job)

        ((statement, _),) = statements
        assert statement.startswith("SELECT jobs.state \nFROM jobs")
