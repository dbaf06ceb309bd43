"""Batches, with OpenAI's own client: from the upload of a file to its results, and every way in
which one may be refused.
"""

import json
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import Batch

from tests.ledger import assert_sound, execute
from tests.waiting import until

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


def line(custom_id: str, url: str = COMPLETIONS, **body: Any) -> dict[str, Any]:
    told = {"model": "stories", "prompt": "Once", "max_tokens": 4, **body}
    if url == CHAT:
        del told["prompt"]
        told.setdefault("messages", [{"role": "user", "content": "Hello"}])
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": told}


def jsonl(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def submit(client: OpenAI, content: bytes, endpoint: Any = COMPLETIONS, **fields: Any) -> Batch:
    file = client.files.create(file=("batch.jsonl", content), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", **fields
    )


def ended(client: OpenAI, batch: Batch, within_s: float = 120) -> Batch:
    def final() -> Batch | None:
        found = client.batches.retrieve(batch.id)
        return found if found.status in {"completed", "failed", "cancelled", "expired"} else None

    return until(final, within_s)


def lines_of(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(each) for each in client.files.content(file_id).text.splitlines()]


def test_every_request_of_a_file_is_answered_in_its_order(client: OpenAI) -> None:
    requests = [line(f"request {n}", CHAT, seed=n) for n in range(5)]

    batch = ended(client, submit(client, jsonl(*requests), CHAT, metadata={"order": "7"}))

    assert (batch.object, batch.status, batch.endpoint) == ("batch", "completed", CHAT)
    assert batch.metadata == {"order": "7"}
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 5, "completed": 5, "failed": 0}
    assert (batch.error_file_id, batch.errors) == (None, None)
    told = lines_of(client, batch.output_file_id)
    assert [each["custom_id"] for each in told] == [each["custom_id"] for each in requests]
    for request, each in zip(requests, told, strict=True):
        assert (each["error"], each["response"]["status_code"]) == (None, 200)
        same = client.chat.completions.create(**request["body"])
        body = each["response"]["body"]
        assert body["choices"] == [choice.to_dict() for choice in same.choices]
        assert body["object"] == "chat.completion"
    assert batch.usage is not None
    assert batch.usage.output_tokens == 20
    assert_sound()


def test_times_follow_each_other(client: OpenAI) -> None:
    batch = ended(client, submit(client, jsonl(line("a"))))

    moments = [
        batch.created_at,
        batch.in_progress_at,
        batch.finalizing_at,
        batch.completed_at,
        batch.expires_at,
    ]
    assert None not in moments
    assert moments == sorted(moments, key=lambda moment: moment or 0)
    assert batch.expires_at == pytest.approx(batch.created_at + 24 * 3600, abs=5)
    assert (batch.failed_at, batch.cancelled_at, batch.expired_at) == (None, None, None)


def test_result_files_expire_when_they_are_asked_to(client: OpenAI) -> None:
    after: Any = {"anchor": "created_at", "seconds": 3600}

    batch = ended(client, submit(client, jsonl(line("a")), output_expires_after=after))

    assert batch.output_file_id is not None
    file = client.files.retrieve(batch.output_file_id)
    assert (file.purpose, file.expires_at) == ("batch_output", file.created_at + 3600)


def test_a_request_that_fails_stands_in_the_error_file(client: OpenAI) -> None:
    long = "word " * 2000

    batch = ended(client, submit(client, jsonl(line("good"), line("bad", prompt=long))))

    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 2, "completed": 1, "failed": 1}
    assert [each["custom_id"] for each in lines_of(client, batch.output_file_id)] == ["good"]
    (bad,) = lines_of(client, batch.error_file_id)
    assert (bad["custom_id"], bad["error"]) == ("bad", None)
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(**line("bad", prompt=long)["body"])
    assert bad["response"]["status_code"] == refused.value.status_code
    assert bad["response"]["body"]["error"] == refused.value.body
    assert bad["response"]["body"]["error"]["code"] == "invalid_value"
    assert "context" in bad["response"]["body"]["error"]["message"]


@pytest.mark.parametrize(
    ("url", "asked", "param"),
    [
        ("/v1/embeddings", {"input": "word " * 2000}, "input"),
        ("/v1/embeddings", {"input": ["a", "word " * 2000]}, "input[1]"),
        (COMPLETIONS, {"prompt": ["word " * 2000]}, "prompt[0]"),
    ],
)
def test_a_request_that_fails_names_its_field_as_it_was_sent(
    client: OpenAI, url: Any, asked: dict[str, Any], param: str
) -> None:
    request = {
        "custom_id": "bad",
        "method": "POST",
        "url": url,
        "body": {"model": "stories", **asked},
    }

    batch = ended(client, submit(client, jsonl(request), url))

    (bad,) = lines_of(client, batch.error_file_id)
    error = bad["response"]["body"]["error"]
    assert (error["param"], error["message"].split(":")[0]) == (param, param)


def test_a_batch_of_which_all_fail_has_completed_without_an_output_file(client: OpenAI) -> None:
    batch = ended(client, submit(client, jsonl(line("bad", prompt="word " * 2000))))

    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert len(lines_of(client, batch.error_file_id)) == 1


GOOD = line("a")
LONG = line("long", user="x" * 10_000_000)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + jsonl(GOOD),
        jsonl(GOOD).replace(b"\n", b"\r\n") + b"\r\n  \r\n",
        jsonl(GOOD).rstrip(b"\n"),
        jsonl(LONG),
    ],
    ids=["byte-order mark", "carriage returns", "no newline at the end", "a line of 10 MB"],
)
def test_files_as_they_come_are_read(client: OpenAI, content: bytes) -> None:
    batch = ended(client, submit(client, content))

    assert (batch.status, batch.errors) == ("completed", None)
    assert len(lines_of(client, batch.output_file_id)) == 1


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        (jsonl(GOOD, line("a")), [(2, "custom_id")]),
        (jsonl(GOOD, line("b", model="other")), [(2, "body.model")]),
        (jsonl(GOOD, line("b", CHAT)), [(2, "url")]),
        (b"\n" + jsonl(line("a", model="none")), [(2, "body.model")]),
        (jsonl(line("a", model=None)), [(1, "body.model")]),
        (jsonl(GOOD, {**line("b"), "method": "GET"}), [(2, "method")]),
        (jsonl(GOOD, {**line("b"), "more": 1}), [(2, "more")]),
        (jsonl({"custom_id": "a"}), [(1, "body")]),
        (jsonl(GOOD, {**line("b"), "custom_id": 3}), [(2, "custom_id")]),
        (jsonl(GOOD, line("b", temperature=9)), [(2, "body.temperature")]),
        (jsonl(GOOD, line("b", prompt=["a", "b"])), [(2, "body.prompt")]),
        (jsonl(GOOD, line("b", stream=True)), [(2, "body.stream")]),
        (jsonl(GOOD) + b"\n[1]\n{]\n\xff\xfe\n", [(3, None), (4, None), (5, None)]),
        (b"\n \n", [(None, "input_file_id")]),
        (jsonl(GOOD) + b'{"custom_id": "b", "n": ' + b"1" * 5000 + b"}", [(2, None)]),
    ],
    ids=[
        "a custom_id twice",
        "two models",
        "another endpoint",
        "no such model",
        "no model",
        "another method",
        "an unknown field",
        "no body",
        "a custom_id that is no text",
        "a value out of range",
        "two prompts",
        "a stream",
        "no JSON, not UTF-8",
        "no lines",
        "a number that nothing can hold",
    ],
)
def test_a_bad_file_fails_whole_and_every_bad_line_is_named(
    client: OpenAI, content: bytes, faults: list[tuple[int | None, str | None]]
) -> None:
    batch = ended(client, submit(client, content))

    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
    assert batch.failed_at is not None
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert [(each.line, each.param) for each in batch.errors.data] == faults
    assert all(each.code and each.message for each in batch.errors.data)
    assert batch.request_counts is not None
    assert batch.request_counts.total == 0


def test_a_model_that_is_not_there_is_told_as_openai_tells_it(client: OpenAI) -> None:
    batch = ended(client, submit(client, jsonl(line("a", model="none"))))

    assert batch.errors is not None
    assert batch.errors.data is not None
    (fault,) = batch.errors.data
    assert (fault.code, fault.line, fault.param) == ("model_not_found", 1, "body.model")
    assert fault.message == "line 1.body.model: no model 'none'"


def test_a_line_too_many_is_named_and_blank_lines_are_not_counted(
    client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.batches.MAX_REQUESTS", 2)
    most = [line("a"), line("b")]

    fits = ended(client, submit(client, b"\n\n" + jsonl(*most)))
    long = ended(client, submit(client, b"\n\n" + jsonl(*most, line("c"))))

    assert (fits.status, long.status) == ("completed", "failed")
    assert long.errors is not None
    assert long.errors.data is not None
    (fault,) = long.errors.data
    assert (fault.code, fault.line, fault.param) == ("too_large", 5, "input_file_id")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"endpoint": "/v1/audio/speech"}, "endpoint"),
        ({"endpoint": "/v1/nothing"}, "endpoint"),
        ({"completion_window": "90d"}, "completion_window"),
        ({"input_file_id": "file-none"}, "input_file_id"),
    ],
)
def test_a_bad_batch_is_refused_at_once(client: OpenAI, change: dict[str, Any], param: str) -> None:
    asked: dict[str, Any] = {"endpoint": COMPLETIONS, "completion_window": "24h"}
    asked["input_file_id"] = client.files.create(file=("a.jsonl", b"{}"), purpose="batch").id

    with pytest.raises(openai.APIStatusError) as refused:
        client.batches.create(**{**asked, **change})

    assert refused.value.status_code in {400, 404}
    assert refused.value.param == param
    assert list(client.batches.list()) == []


@pytest.mark.parametrize("purpose", ["fine-tune", "user_data"])
def test_only_a_file_for_batches_makes_a_batch(client: OpenAI, purpose: Any) -> None:
    file = client.files.create(file=("a.jsonl", jsonl(GOOD)), purpose=purpose)

    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.create(input_file_id=file.id, endpoint=COMPLETIONS, completion_window="24h")

    assert refused.value.param == "input_file_id"
    assert purpose in str(refused.value)
    assert list(client.batches.list()) == []


def test_a_file_of_more_than_200_megabytes_makes_no_batch(client: OpenAI) -> None:
    most = 200 * 1024 * 1024
    file = client.files.create(file=("batch.jsonl", jsonl(GOOD)), purpose="batch")
    asked: Any = {"endpoint": COMPLETIONS, "completion_window": "24h", "input_file_id": file.id}

    execute(f"UPDATE files SET bytes = {most + 1}")
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.create(**asked)
    execute(f"UPDATE files SET bytes = {most}")

    assert refused.value.param == "input_file_id"
    assert ended(client, client.batches.create(**asked)).status == "completed"


def test_batches_are_listed_and_no_other_jobs(client: OpenAI) -> None:
    client.completions.create(model="stories", prompt="Once", max_tokens=2)
    made = [submit(client, jsonl(line("a"))).id for _ in range(5)]

    found = [batch.id for batch in client.batches.list(limit=2)]

    assert found == made[::-1]
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("job_none")
