"""Chat completions and streams, with OpenAI's own client."""

from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import Completion
from openai.types.chat import ChatCompletionMessage, ChatCompletionMessageParam

from api import waiters
from shared import pieces
from shared.chat import render
from shared.pieces import Piece
from tests.waiting import until

MESSAGES: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "You tell stories."},
    {"role": "user", "content": [{"type": "text", "text": "Once upon"}]},
]
ASKED = {"model": "stories", "messages": MESSAGES, "max_tokens": 24, "seed": 5}


def test_a_reply_is_what_the_plain_template_is_continued_with(client: OpenAI) -> None:
    reply = client.chat.completions.create(**ASKED, n=2)

    prompt = render([dict(one) for one in MESSAGES], add_generation_prompt=True)
    plain = client.completions.create(
        model="stories", prompt=prompt, max_tokens=24, seed=5, stop=["\nuser:"]
    )
    assert (reply.object, len(reply.choices)) == ("chat.completion", 2)
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].message.content == plain.choices[0].text.removeprefix(" ")
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 48


def test_log_probabilities_come_with_each_token(client: OpenAI) -> None:
    reply = client.chat.completions.create(**ASKED, logprobs=True, top_logprobs=2)

    told = reply.choices[0].logprobs
    assert told is not None
    assert told.content is not None
    assert "".join(one.token for one in told.content).strip() == (
        reply.choices[0].message.content or ""
    )
    assert all(len(one.top_logprobs) == 2 and one.logprob <= 0 for one in told.content)
    pairs = [[top.logprob for top in one.top_logprobs] for one in told.content]
    assert pairs == [sorted(pair, reverse=True) for pair in pairs], "the likeliest first"


def test_a_streamed_reply_is_the_same_and_grows_token_by_token(client: OpenAI) -> None:
    whole = client.chat.completions.create(**ASKED, n=2)

    chunks = list(
        client.chat.completions.create(
            **ASKED, n=2, stream=True, stream_options={"include_usage": True}
        )
    )

    for index, choice in enumerate(whole.choices):
        mine = [one for chunk in chunks for one in chunk.choices if one.index == index]
        assert "".join(one.delta.content or "" for one in mine) == choice.message.content
        assert mine[0].delta.role == "assistant"
        assert [one.finish_reason for one in mine][-1] == choice.finish_reason
        assert len(mine) > 8
    assert {chunk.model for chunk in chunks} == {whole.model} == {"stories@1"}
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage


def test_a_streamed_replys_log_probabilities_are_those_of_the_whole(client: OpenAI) -> None:
    asked = {**ASKED, "n": 2, "temperature": 2, "logprobs": True, "top_logprobs": 2}
    whole = client.chat.completions.create(**asked)

    chunks = list(client.chat.completions.create(**asked, stream=True))

    for index, choice in enumerate(whole.choices):
        mine = [one for chunk in chunks for one in chunk.choices if one.index == index]
        told = [one for each in mine if each.logprobs for one in each.logprobs.content or ()]
        assert choice.logprobs is not None
        assert [one.to_dict() for one in told] == [
            one.to_dict() for one in choice.logprobs.content or ()
        ]
        assert "".join(one.delta.content or "" for one in mine) == choice.message.content
        assert sum(one.logprobs is not None for one in mine) > 8, "they come as it grows"


@pytest.mark.parametrize(("seed", "same"), [(-1, 2**32 - 1), (2**62 + 5, 5), (-(2**63), 0)])
def test_a_seed_of_64_bits_is_the_seed_of_32_that_is_equal_modulo(
    client: OpenAI, seed: int, same: int
) -> None:
    asked = {"model": "stories", "prompt": "Once upon", "max_tokens": 12, "temperature": 2}

    texts = [client.completions.create(**asked, seed=each).choices[0].text for each in (seed, same)]

    assert texts[0] == texts[1]


def test_without_any_mass_the_likeliest_token_is_taken_each_time(client: OpenAI) -> None:
    asked = {"model": "stories", "prompt": "Once upon", "max_tokens": 12, "seed": 5}

    alone = client.completions.create(**asked, top_p=0, temperature=2)

    assert alone.choices == client.completions.create(**asked, temperature=0).choices


ECHOED = {
    "model": "stories",
    "prompt": ["Once upon", "从前", "The 🙂"],
    "max_tokens": 24,
    "n": 2,
    "seed": 9,
    "temperature": 2,
    "logprobs": 2,
    "echo": True,
}
"""Hot enough for tokens that are parts of characters."""


def test_streamed_completions_with_prompts_and_log_probabilities_are_the_whole_in_pieces(
    client: OpenAI,
) -> None:
    whole = client.completions.create(**ECHOED, stop=["e"])

    chunks = list(client.completions.create(**ECHOED, stop=["e"], stream=True))

    joined_is_whole(chunks, whole)


def joined_is_whole(chunks: list[Completion], whole: Completion) -> None:
    assert {chunk.model for chunk in chunks} == {whole.model} == {"stories@1"}
    for choice in whole.choices:
        mine = [one for chunk in chunks for one in chunk.choices if one.index == choice.index]
        assert "".join(one.text for one in mine) == choice.text
        assert choice.text.startswith(ECHOED["prompt"][choice.index // 2])
        assert mine[-1].finish_reason == choice.finish_reason
        assert choice.logprobs is not None
        for name, values in choice.logprobs.to_dict().items():
            pieces_of = [one.logprobs.to_dict()[name] for one in mine if one.logprobs]
            assert [value for piece in pieces_of for value in piece] == values, name
        for token, offset in zip(
            choice.logprobs.tokens or (), choice.logprobs.text_offset or (), strict=True
        ):
            assert choice.text[offset : offset + len(token)] == token


def test_a_prompt_is_echoed_though_nothing_follows_it(client: OpenAI) -> None:
    asked = {"model": "stories", "prompt": "Once upon", "max_tokens": 8, "seed": 5, "echo": True}
    first = client.completions.create(**asked).choices[0].text[len("Once upon") :][:1]

    chunks = list(client.completions.create(**asked, stop=[first], stream=True))

    assert "".join(one.text for chunk in chunks for one in chunk.choices) == "Once upon"


def test_a_streamed_completion_stops_before_its_stop_text(client: OpenAI) -> None:
    asked = {"model": "stories", "prompt": "Once upon a time", "max_tokens": 60, "seed": 1}
    free = client.completions.create(**asked).choices[0].text
    stop = free[len(free) // 2 :][:6]
    whole = client.completions.create(**asked, stop=[stop]).choices[0]

    chunks = list(client.completions.create(**asked, stop=[stop], stream=True))

    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.text
    assert stop not in whole.text
    assert chunks[-1].choices[0].finish_reason == "stop"


def lose_all(_: list[Piece]) -> list[Piece]:
    return []


def lose_some(pieces: list[Piece]) -> list[Piece]:
    return [piece for piece in pieces if piece.start % 3]


def send_twice(pieces: list[Piece]) -> list[Piece]:
    return [*pieces, *pieces]


@pytest.mark.parametrize("harm", [lose_all, lose_some, send_twice])
def test_whatever_becomes_of_its_pieces_a_stream_brings_the_text_once_and_whole(
    client: OpenAI,
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[[list[Piece]], list[Piece]],
) -> None:
    whole = client.chat.completions.create(**ASKED)
    send = pieces.send

    def harmed(job_id: str, piece: Piece) -> None:
        for each in harm([piece]):
            send(job_id, each)

    monkeypatch.setattr(pieces, "send", harmed)

    chunks = list(client.chat.completions.create(**ASKED, stream=True))

    said = "".join(one.delta.content or "" for chunk in chunks for one in chunk.choices)
    assert said == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "length"


@pytest.mark.parametrize("harm", [lose_all, lose_some, send_twice])
def test_whatever_becomes_of_its_pieces_a_stream_brings_log_probabilities_once_and_whole(
    client: OpenAI,
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[[list[Piece]], list[Piece]],
) -> None:
    whole = client.completions.create(**ECHOED)
    send = pieces.send

    def harmed(job_id: str, piece: Piece) -> None:
        for each in harm([piece]):
            send(job_id, each)

    monkeypatch.setattr(pieces, "send", harmed)

    joined_is_whole(list(client.completions.create(**ECHOED, stream=True)), whole)


def test_a_client_that_leaves_cancels_its_call(client: OpenAI) -> None:
    asked = {"model": "stories", "prompt": "Once", "max_tokens": 400, "n": 16}

    stream = client.completions.create(**asked, stream=True)
    job = next(iter(stream)).id
    stream.close()

    assert state_of(client, job) == "cancelled"


def test_a_stream_of_a_process_that_is_to_end_breaks_off_with_an_error_in_time(
    client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"model": "stories", "prompt": "Once", "max_tokens": 400, "n": 16}
    monkeypatch.setattr(waiters, "ENDING", waiters.Ending())
    stream = client.completions.create(**asked, stream=True)
    job = next(iter(stream)).id

    waiters.ENDING.begin(killed_in_s=0)

    with pytest.raises(openai.APIError, match="about to end"):
        list(stream)
    assert state_of(client, job) == "cancelled"


def test_a_client_that_leaves_frees_its_place_though_the_call_cannot_be_cancelled(
    client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> bool:
        raise RuntimeError("asked to raise")

    until(nobody_waits)  # after the tests before
    monkeypatch.setattr("api.openai.streams.cancel", away)
    asked = {"model": "stories", "prompt": "Once", "max_tokens": 400, "n": 16}
    stream = client.completions.create(**asked, stream=True)
    job = next(iter(stream)).id
    assert waiters.CALLS.taken == 1

    stream.close()

    until(nobody_waits)
    # Nobody else would, and it would run on for a minute.
    client.post(f"{address_of(client, job)}/cancel", cast_to=dict)


def nobody_waits() -> bool:
    return waiters.CALLS.taken == 0


def address_of(client: OpenAI, job: str) -> str:
    """Where the native API has a call's job."""
    return str(client.base_url).replace("/v1/", f"/api/v1/jobs/{job}")


def state_of(client: OpenAI, job: str) -> str:
    """The state of a job once it is over."""
    url = address_of(client, job)

    def final_state() -> str | None:
        state = client.get(url, cast_to=dict)["state"]
        return state if state in {"cancelled", "succeeded", "failed"} else None

    return str(until(final_state))


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
        ({"tools": [{"type": "function", "function": {"name": "a"}}]}, "tools"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"max_tokens": 100_000}, "max_tokens"),
        ({"stream": True, "max_tokens": 100_000}, "max_tokens"),
        ({"messages": [{"role": "user", "content": "word " * 2000}]}, "messages"),
        ({"messages": [{"role": "user", "content": "word " * 2000}], "stream": True}, "messages"),
    ],
)
def test_what_is_not_served_is_refused_by_name(
    client: OpenAI, change: dict[str, object], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{**ASKED, **change})

    assert refused.value.param == param


def test_fields_that_cannot_change_a_reply_change_nothing(client: OpenAI) -> None:
    plain = client.chat.completions.create(**ASKED)
    system, user = MESSAGES

    same = client.chat.completions.create(
        **{**ASKED, "messages": [{**system, "role": "developer"}, {**user, "name": "Lily"}]},
        audio=None,
        modalities=["text"],
        parallel_tool_calls=True,
        prompt_cache_key="a",
        prompt_cache_retention="24h",
        safety_identifier="a",
        tool_choice="none",
        verbosity="medium",
    )

    assert (same.choices, same.usage) == (plain.choices, plain.usage)


@pytest.mark.parametrize(
    "as_sent",
    [
        lambda reply: reply,
        lambda reply: reply.to_dict(),
        lambda reply: reply.model_dump(),
    ],
    ids=["as it came", "to_dict", "model_dump"],
)
def test_a_reply_is_sent_back_as_a_turn_of_the_conversation(
    client: OpenAI, as_sent: Callable[[ChatCompletionMessage], Any]
) -> None:
    reply = client.chat.completions.create(**ASKED).choices[0].message
    question: ChatCompletionMessageParam = {"role": "user", "content": "And then?"}
    said: ChatCompletionMessageParam = {"role": "assistant", "content": reply.content}

    went_on = client.chat.completions.create(
        **{**ASKED, "messages": [*MESSAGES, as_sent(reply), question]}
    )

    plain = client.chat.completions.create(**{**ASKED, "messages": [*MESSAGES, said, question]})
    assert went_on.choices == plain.choices
    assert went_on.usage == plain.usage
