"""The same request and seed give the same text, whatever shares the batch."""

import copy
import random
from collections.abc import Sequence

import pytest
import torch

from shared.errors import Invalid
from shared.families.causal_lm import TextParams
from worker.family import Part, Piece, Refusal, Request, Text
from worker.text.causal_lm.family import CausalLm
from worker.text.causal_lm.model import LoadedText

PROMPTS = [
    "Once upon a time",
    "",
    "从前有一座山,山里有一座庙",
    "🙂",
    "The cat sat on the mat and looked at the dog",
    "Les navires",
    "A",
    "One day, a little girl named Lily went to",
]


@pytest.fixture(params=["tiny", "stories"])
def loaded(request: pytest.FixtureRequest) -> LoadedText:
    return request.getfixturevalue(request.param)


def mixed_requests() -> list[TextParams]:
    """Requests of many lengths, languages and settings, some with several outputs."""
    return [
        TextParams(
            prompt=PROMPTS[number % len(PROMPTS)],
            seed=number * 7919,
            n=1 + 2 * (number % 5 == 0),
            max_tokens=(5, 9, 20)[number % 3],
            temperature=(1.0, 0.7, 0.0)[number % 3],
            top_p=(1.0, 0.9)[number % 2],
        )
        for number in range(20)
    ]


def run_all(loaded: LoadedText, params: Sequence[TextParams], bystander) -> dict:
    """Everything generated, by (seed of the request, index)."""
    results = CausalLm().generate(loaded, [Request(one) for one in params], bystander())
    return {
        (params[part.request].seed, part.index): (part.media, part.seed, part.facts)
        for part in results
    }


def only_part(loaded: LoadedText, params: TextParams, bystander) -> Part:
    (part,) = CausalLm().generate(loaded, [Request(params)], bystander())
    assert isinstance(part, Part)
    return part


def test_the_batch_changes_no_bit_of_a_text(loaded, bystander) -> None:
    params = mixed_requests()
    expected = run_all(loaded, params, bystander)
    assert len(expected) == sum(one.n for one in params)

    for size in (1, 3, 16):
        shuffled = random.Random(size).sample(params, len(params))
        found = {}
        for start in range(0, len(shuffled), size):
            found |= run_all(loaded, shuffled[start : start + size], bystander)
        assert found == expected  # facts hold mean_logprob: floats, equal to the last bit


def test_a_batch_without_padding_gives_the_same_bits(loaded, bystander) -> None:
    """Were no row padded, transformers would drop the mask, and another kernel would run."""
    by_tokens = {len(loaded.encode("a " * count)): "a " * count for count in range(1, 65)}
    full = [
        TextParams(prompt=by_tokens[tokens], seed=tokens, max_tokens=16)
        for tokens in (31, 32, 63, 64)
        if tokens in by_tokens and tokens + 16 <= loaded.context
    ]
    assert full
    for params in full:
        copies = [params.model_copy(update={"seed": seed}) for seed in range(15)]
        together = run_all(loaded, [*copies, params.model_copy(update={"seed": 77})], bystander)
        short = TextParams(prompt="a", seed=99, max_tokens=16)
        beside = run_all(loaded, [short, params.model_copy(update={"seed": 77})], bystander)
        assert beside[77, 0] == together[77, 0]


def test_an_output_is_reproduced_alone_by_its_own_seed(loaded, bystander) -> None:
    params = TextParams(prompt="Once upon a time", seed=3, n=4, max_tokens=16)
    parts = list(CausalLm().generate(loaded, [Request(params)], bystander()))
    assert sorted(part.index for part in parts) == [0, 1, 2, 3]
    assert len({part.media.text for part in parts}) > 1
    for part in parts:
        alone = only_part(loaded, params.model_copy(update={"n": 1, "seed": part.seed}), bystander)
        assert alone.media == part.media


def test_padding_does_not_change_what_the_model_says(loaded, bystander) -> None:
    """The likeliest continuation of the batch is that of the bare model, a token at a time."""
    params = TextParams(prompt="Once upon a time", seed=0, temperature=0, max_tokens=12)
    ids = loaded.encode(params.prompt)
    wanted: list[int] = []
    with torch.inference_mode():
        for _ in range(12):
            token = int(loaded.model(torch.tensor([ids + wanted])).logits[0, -1].argmax())
            wanted.append(token)
            if token in loaded.end_ids:
                break
    part = only_part(loaded, params, bystander)
    assert part.media.text == loaded.decode_after(ids, wanted)


def test_a_trained_llama_tells_a_story(stories, bystander) -> None:
    params = TextParams(prompt="Once upon a time", seed=1, temperature=0, max_tokens=60)
    assert (
        ", there was a little girl named Lily." in only_part(stories, params, bystander).media.text
    )


def test_a_prompt_beyond_the_context_is_refused_alone(loaded, bystander) -> None:
    long = TextParams(prompt="word " * loaded.context, seed=1, max_tokens=8)
    good = TextParams(prompt="A", seed=1, max_tokens=8)
    results = list(CausalLm().generate(loaded, [Request(long), Request(good)], bystander()))
    (refusal,) = [one for one in results if isinstance(one, Refusal)]
    assert refusal.request == 0
    assert isinstance(refusal.error, Invalid)
    assert refusal.error.param == "prompt"
    assert str(loaded.context) in refusal.error.message
    assert [one.request for one in results if isinstance(one, Part)] == [1]


def test_a_stop_text_ends_the_text_before_it(stories, bystander) -> None:
    params = TextParams(prompt="Once upon a time", seed=1, temperature=0, max_tokens=60)
    free = only_part(stories, params, bystander)
    stopped = only_part(stories, params.model_copy(update={"stop": [" Lily", "zebra"]}), bystander)
    assert stopped.media.text == free.media.text.split(" Lily")[0]
    assert stopped.facts["finish_reason"] == "stop"
    assert stopped.facts["completion_tokens"] < free.facts["completion_tokens"]
    assert free.facts["finish_reason"] == "length"


def test_the_models_own_end_is_a_stop(tiny, bystander) -> None:
    params = TextParams(prompt="The 7 ships sailed", seed=1, n=16, max_tokens=50)
    parts = list(CausalLm().generate(tiny, [Request(params)], bystander()))
    ended = [part for part in parts if part.facts["finish_reason"] == "stop"]
    assert ended
    assert all("<|endoftext|>" not in part.media.text for part in parts)


def test_half_a_character_at_the_end_is_dropped(tiny, bystander) -> None:
    params = TextParams(prompt="第", seed=1, temperature=0, max_tokens=1)
    for seed in range(20):
        part = only_part(tiny, params.model_copy(update={"seed": seed}), bystander)
        assert not part.media.text.endswith("\ufffd")
        part.media.text.encode("utf-8")


def test_logprobs_describe_every_token_of_the_text(loaded, bystander) -> None:
    params = TextParams(prompt="Once upon", seed=4, max_tokens=12, temperature=0, logprobs=3)
    part = only_part(loaded, params, bystander)
    lists = part.facts["logprobs"]
    assert "".join(lists["tokens"]) == part.media.text
    assert len({len(entries) for entries in lists.values()}) == 1
    for token, value, top, offset in zip(*lists.values(), strict=True):
        assert value <= 0
        assert 1 <= len(top) <= 3
        assert value == pytest.approx(max(top.values()))  # temperature 0
        assert part.media.text[offset : offset + len(token)] == token


def test_logprobs_come_only_when_asked(tiny, bystander) -> None:
    facts = only_part(tiny, TextParams(prompt="A", seed=1, max_tokens=4), bystander).facts
    assert "logprobs" not in facts
    assert facts["mean_logprob"] < 0
    assert facts["prompt_tokens"] == 1


def test_an_empty_prompt_starts_a_text(loaded, bystander) -> None:
    part = only_part(loaded, TextParams(prompt="", seed=2, max_tokens=8), bystander)
    assert isinstance(part.media, Text)
    assert part.facts["prompt_tokens"] == 1


def test_a_stop_is_seen_at_the_next_token(tiny, bystander) -> None:
    run = bystander(looks=3)
    params = TextParams(prompt="A", seed=1, max_tokens=50, stop=["\x00"])
    assert list(CausalLm().generate(tiny, [Request(params)], run)) == []
    assert len(run.fractions) <= 4


def test_progress_rises_to_one(tiny, bystander) -> None:
    run = bystander()
    requests = [Request(TextParams(prompt="A", seed=seed, max_tokens=6)) for seed in range(20)]
    list(CausalLm().generate(tiny, requests, run))
    assert run.fractions == sorted(run.fractions)
    assert 0.5 < run.fractions[-1] <= 1


def test_pieces_of_a_watched_output_make_up_its_text(loaded: LoadedText, bystander) -> None:
    """Though tokens are parts of characters, and texts end before a stop text."""
    params = [
        TextParams(prompt=PROMPTS[seed % len(PROMPTS)], seed=seed, n=2, max_tokens=24, stop=stop)
        for seed in range(12)
        for stop in ([], ["e ", "\ufffd\ufffd"], ["\n", "th"])
    ]
    grown: dict[tuple[int, int], str] = {}
    ended: set[tuple[int, int]] = set()
    requests = [Request(one, watched=True) for one in params]
    for made in CausalLm().generate(loaded, requests, bystander()):
        output = (made.request, made.index)
        if isinstance(made, Piece):
            assert output not in ended
            assert made.start == len(grown.get(output, ""))
            grown[output] = grown.get(output, "") + made.text
            ended |= {output} if made.last else set()
        else:
            assert isinstance(made, Part)
            assert isinstance(made.media, Text)
            assert (output in ended, grown[output]) == (True, made.media.text)
    assert len(ended) == 2 * len(params)


def test_the_tokens_of_pieces_are_those_of_the_whole_output(loaded: LoadedText, bystander) -> None:
    """Each stands with the piece that completes it, be it a part of a character or of a stop."""
    params = [
        TextParams(
            prompt=PROMPTS[seed % len(PROMPTS)],
            seed=seed,
            n=2,
            max_tokens=24,
            stop=stop,
            temperature=1.5,
            logprobs=2,
        )
        for seed in range(12)
        for stop in ([], ["e ", "\ufffd\ufffd"], ["\n", "th"])
    ]
    shown: dict[tuple[int, int], str] = {}
    grown: dict[tuple[int, int], dict[str, list[object]]] = {}
    requests = [Request(one, watched=True) for one in params]
    partial = later = 0
    for made in CausalLm().generate(loaded, requests, bystander()):
        output = (made.request, made.index)
        if isinstance(made, Piece):
            lists = grown.setdefault(output, {})
            assert made.logprobs is not None
            assert made.first_token == len(lists.get("tokens", []))
            for name, values in made.logprobs.items():
                lists.setdefault(name, []).extend(values)
            shown[output] = shown.get(output, "") + made.text
            said = "".join(map(str, lists["tokens"]))
            assert shown[output].startswith(said), "no token is told of before its text is"
            later += said != shown[output]
        else:
            assert isinstance(made, Part)
            assert grown[output] == made.facts["logprobs"]
            assert "".join(made.facts["logprobs"]["tokens"]) == shown[output]
            partial += "" in made.facts["logprobs"]["tokens"]
    assert len(grown) == 2 * len(params)
    assert partial > 0, "some tokens were parts of characters"
    assert later > 0, "some stood in the way of a stop text"


def test_nobody_is_sent_pieces_who_did_not_ask(loaded: LoadedText, bystander) -> None:
    asked = [Request(TextParams(prompt="A", seed=1, max_tokens=8))]

    assert [type(one) for one in CausalLm().generate(loaded, asked, bystander())] == [Part]


def test_a_chat_template_of_the_model_is_used(tiny: LoadedText, bystander) -> None:
    own = LoadedText(tiny.model, copy.copy(tiny.tokenizer), tiny.config)
    own.tokenizer.chat_template = (
        "{% for one in messages %}<{{ one.role }}> {{ one.content }} {% endfor %}<reply>"
    )
    messages = [{"role": "user", "content": "Where to?"}]
    asked = {"seed": 3, "max_tokens": 12}

    chat = only_part(own, TextParams(messages=messages, **asked), bystander)

    plain = only_part(tiny, TextParams(prompt="<user> Where to? <reply>", **asked), bystander)
    assert (chat.media, chat.facts) == (plain.media, plain.facts)


def test_a_conversation_that_the_models_template_refuses_is_refused(
    tiny: LoadedText, bystander
) -> None:
    own = LoadedText(tiny.model, copy.copy(tiny.tokenizer), tiny.config)
    own.tokenizer.chat_template = "{{ raise_exception('no system turns') }}"
    params = TextParams(messages=[{"role": "system", "content": "a"}], seed=1)

    (refusal,) = CausalLm().generate(own, [Request(params)], bystander())

    assert isinstance(refusal, Refusal)
    assert "no system turns" in refusal.error.message
