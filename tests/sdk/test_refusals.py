"""What a bad field is answered with: the field as it was sent, and one sentence about it."""

import json
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import Batch

from shared.states import Lane
from tests.sdk.conftest import WHOLE
from tests.threads import draining
from tests.waiting import until


def error_of(client: OpenAI, endpoint: str, change: dict[str, Any]) -> openai.BadRequestError:
    with pytest.raises(openai.BadRequestError) as refused:
        client.post(endpoint, body={**WHOLE[endpoint], **change}, cast_to=dict)
    return refused.value


def said_in(error: openai.BadRequestError) -> str:
    assert isinstance(error.body, dict)
    return str(error.body["message"])


def message(content: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content, **fields}]}


KINDS = "input should be a valid string or a valid list"
FAULTS: list[tuple[str, dict[str, Any], str, str]] = [
    ("/completions", {"prompt": 5}, "prompt", KINDS),
    ("/completions", {"prompt": ["a", 5]}, "prompt[1]", "input should be a valid string"),
    (
        "/completions",
        {"prompt": ["a", "b" * 200_001]},
        "prompt[1]",
        "string should have at most 200000 characters",
    ),
    ("/completions", {"prompt": "a\0"}, "prompt", "a text holds the character NUL"),
    ("/completions", {"seed": 2**63}, "seed", f"input should be less than {2**63}"),
    ("/completions", {"stop": 5}, "stop", KINDS),
    *(
        (
            endpoint,
            {"stream_options": {"include_usage": True}, **more},
            "stream_options",
            "only a stream has any; leave it out, or send stream as true",
        )
        for endpoint in ("/completions", "/chat/completions")
        for more in ({}, {"stream": False}, {"stream": None})
    ),
    ("/completions", {"stop": [""]}, "stop", "a stop text must not be empty"),
    ("/embeddings", {"input": 5}, "input", KINDS),
    ("/embeddings", {"input": ""}, "input", "string should have at least 1 character"),
    ("/embeddings", {"input": ["a", ""]}, "input[1]", "string should have at least 1 character"),
    ("/chat/completions", message(5), "messages[0].content", KINDS),
    ("/chat/completions", message(None), "messages[0].content", KINDS),
    (
        "/chat/completions",
        message([{"type": "text", "text": 5}]),
        "messages[0].content[0].text",
        "input should be a valid string",
    ),
    (
        "/chat/completions",
        message("b" * 200_000),
        "messages",
        "together longer than 200000 characters",
    ),
    (
        "/chat/completions",
        {"max_completion_tokens": 600},
        "max_completion_tokens",
        "600 leaves no room for a prompt in this model's context of 512 tokens; ask for at most "
        "511",
    ),
    (
        "/chat/completions",
        {"max_tokens": 0},
        "max_tokens",
        "input should be greater than or equal to 1",
    ),
    (
        "/images/generations",
        {"prompt": "cat"},
        "prompt",
        "'cat' is not a label of this model (0, 1)",
    ),
    (
        "/images/generations",
        {"label": "cat"},
        "label",
        "'cat' is not a label of this model (0, 1)",
    ),
    (
        "/images/generations",
        {"label": 5},
        "label",
        "input should be a valid string or a valid dictionary",
    ),
    ("/images/generations", {"label": {"0": 0.0}}, "label", "a mix needs one weight above 0"),
    (
        "/images/generations",
        {"grid": 2},
        "grid",
        "a labelled grid shows every label once; leave out n and label",
    ),
]


@pytest.mark.parametrize("endpoint", WHOLE)
def test_a_bad_field_is_named_as_it_was_sent_in_one_sentence(
    unheeded: OpenAI, endpoint: str
) -> None:
    faults = [fault for fault in FAULTS if fault[0] == endpoint]

    errors = [error_of(unheeded, endpoint, change) for _, change, *_ in faults]

    assert [(error.param, said_in(error)) for error in errors] == [
        (param, f"{param}: {said}") for *_, param, said in faults
    ]


@pytest.mark.parametrize("endpoint", WHOLE)
def test_a_line_of_a_batch_is_told_the_same_below_its_number(
    unheeded: OpenAI, endpoint: str
) -> None:
    path = f"/v1{endpoint}"
    # A line has one prompt.
    faults = [fault for fault in FAULTS if fault[0] == endpoint and fault[2] != "prompt[1]"]
    lines = [
        {"custom_id": str(number), "method": "POST", "url": path, "body": WHOLE[endpoint] | change}
        for number, (_, change, *_) in enumerate(faults)
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    file = unheeded.files.create(file=("batch.jsonl", content), purpose="batch")
    batch = unheeded.post(
        "/batches",
        body={"input_file_id": file.id, "endpoint": path, "completion_window": "24h"},
        cast_to=Batch,
    )

    with draining(Lane.LIGHT):
        errors = until(lambda: unheeded.batches.retrieve(batch.id).errors)

    assert [(error.line, error.param, error.message) for error in errors.data or ()] == [
        (line, f"body.{param}", f"line {line}.body.{param}: {said}")
        for line, (*_, param, said) in enumerate(faults, start=1)
    ]
