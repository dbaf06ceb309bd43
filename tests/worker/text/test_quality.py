"""Bits per byte are what they say, and stand beside the rival that everybody knows."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from worker.dataset import Example
from worker.family import Text
from worker.text.causal_lm.family import CausalLm
from worker.text.causal_lm.scoring import _windows, cost_of
from worker.text.causal_lm.windows import NO_TARGET
from worker.text.quality import distinct, quality_of, repetition, xz_bits_per_byte


@pytest.fixture
def quality(dataset, tmp_path):
    return quality_of(CausalLm(), dataset, tmp_path, torch.device("cpu"))


def test_the_cost_of_a_short_text_is_the_models_cross_entropy(tiny) -> None:
    text = "The 7 ships sailed. 第7条船。"
    ids = [tiny.start_id, *tiny.tokenizer(text)["input_ids"]]
    with torch.inference_mode():
        logits = tiny.model(torch.tensor([ids[:-1]])).logits[0]
    nats = float(F.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum"))
    cost = cost_of(tiny, [Example(text)])
    assert cost.bits == pytest.approx(nats / math.log(2), rel=1e-4)
    assert cost.bytes == len(text.encode())
    assert cost.tokens == len(ids) - 1


@pytest.mark.parametrize("length", [2, 9, 10, 17, 33, 100])
def test_every_token_is_predicted_once_with_three_quarters_of_a_window(length: int) -> None:
    stream_t = np.arange(length)
    inputs_bt, targets_bt = _windows(stream_t, stream_t, window=8, stride=2)
    wanted = targets_bt[targets_bt != NO_TARGET]
    assert wanted.tolist() == list(range(1, length))
    assert (targets_bt[1:, :6] == NO_TARGET).all()
    place = targets_bt != NO_TARGET
    assert (targets_bt[place] == inputs_bt[place] + 1).all()


def test_a_quick_measure_has_the_objective(quality, tiny) -> None:
    metric = quality.measure(tiny, quick=True)[quality.objective]
    assert metric.better == "lower"
    assert 0 < metric.value < 8
    assert type(metric.value) is float
    assert quality.measure(tiny, quick=True)[quality.objective] == metric


def test_a_full_measure_stands_beside_its_floors(quality, tiny) -> None:
    metrics = quality.measure(tiny, quick=False)
    assert set(metrics) == {"bits_per_byte", "repetition", "distinct_1", "distinct_2"}
    assert metrics["bits_per_byte"].against == "xz -9e"
    assert all(metric.floor is not None and metric.n > 0 for metric in metrics.values())


def test_a_validation_file_is_what_is_measured_and_nothing_else(
    dataset, make_dataset, tiny, tmp_path
) -> None:
    """Whatever split of it the examples are in; and the loss is the cross-entropy of a token."""
    texts = ["A gull cries over the harbour.", "第一条船。", "The tide turns."] * 4
    measured_on = replace(dataset, validation=make_dataset(texts))
    quality = quality_of(CausalLm(), measured_on, tmp_path, torch.device("cpu"))
    read = measured_on.examples("validation")
    cost = cost_of(tiny, read, overlap=0.5)

    metrics = quality.measure(tiny, quick=True)

    assert sorted(example.text for example in read) == sorted(texts)

    assert metrics["bits_per_byte"].value == pytest.approx(cost.bits_per_byte)
    assert metrics["valid_loss"].value == pytest.approx(cost.bits * math.log(2) / cost.tokens)
    assert metrics["full_valid_loss"] == metrics["valid_loss"], "of a file this short"
    assert metrics["full_valid_mean_token_accuracy"].n == cost.tokens


def test_of_a_long_validation_file_an_excerpt_and_the_whole_are_measured(
    dataset, make_dataset, tiny, tmp_path
) -> None:
    texts = [f"{number} gulls cry over the harbour." for number in range(1000)]
    measured_on = replace(dataset, validation=make_dataset(texts))

    metrics = quality_of(CausalLm(), measured_on, tmp_path, torch.device("cpu")).measure(
        tiny, quick=True
    )

    assert metrics["valid_loss"].n < metrics["full_valid_loss"].n
    assert metrics["valid_loss"].value != metrics["full_valid_loss"].value
    assert metrics["valid_loss"].value == pytest.approx(metrics["full_valid_loss"].value, rel=0.1)


def test_right_guesses_are_those_that_the_model_held_for_the_likeliest(tiny) -> None:
    text = "The 7 ships sailed at dawn."
    ids = [tiny.start_id, *tiny.tokenizer(text)["input_ids"]]
    with torch.inference_mode():
        guesses = tiny.model(torch.tensor([ids[:-1]])).logits[0].argmax(-1).tolist()

    cost = cost_of(tiny, [Example(text)])

    right = sum(guess == wanted for guess, wanted in zip(guesses, ids[1:], strict=True))
    assert 0 < right < len(ids) - 1
    assert (cost.right, cost.accuracy) == (right, right / (len(ids) - 1))


def test_training_lowers_the_objective(quality, dataset, tiny, tiny_params) -> None:
    fresh = CausalLm().trainee(dataset, None, tiny_params, torch.device("cpu")).loaded()
    before, after = (
        quality.measure(one, quick=True)["bits_per_byte"].value for one in (fresh, tiny)
    )
    assert after < before - 0.5


def test_the_sheet_is_text_and_always_the_same(quality, tiny) -> None:
    sheet = quality.sheet(tiny)
    assert isinstance(sheet, Text)
    assert sheet.text.count("⟶") == 4
    assert quality.sheet(tiny) == sheet


def test_repetition_counts_four_grams_seen_before() -> None:
    assert repetition([list("abcdefgh")]) == 0
    assert repetition([list("aaaaaaaa")]) == pytest.approx(4 / 5)
    assert repetition([]) == 0


def test_distinct_counts_grams_of_all_texts_together() -> None:
    assert distinct([list("ab"), list("ab")], 1) == 0.5
    assert distinct([list("abc")], 2) == 1


def test_the_rival_on_tiny_shakespeare_is_the_known_number(data: Path) -> None:
    text = (data / "text-en" / "tinyshakespeare.txt").read_bytes()
    cut = len(text) * 9 // 10
    assert xz_bits_per_byte(text[:cut], text[cut:]) == pytest.approx(2.52, abs=0.005)


def test_of_an_example_only_the_answer_is_scored(tiny) -> None:
    prompt, answer = "The 7 ships", " sailed at dawn."
    example = Example(prompt + answer, ((len(prompt), len(prompt + answer)),))
    ids = [tiny.start_id, *tiny.tokenizer(prompt + answer)["input_ids"]]
    read = 1 + len(tiny.tokenizer(prompt)["input_ids"])
    with torch.inference_mode():
        logits = tiny.model(torch.tensor([ids[:-1]])).logits[0]
    nats = F.cross_entropy(logits[read - 1 :], torch.tensor(ids[read:]), reduction="sum")

    cost = cost_of(tiny, [example])

    assert cost.bits == pytest.approx(float(nats) / math.log(2), rel=1e-4)
    assert (cost.bytes, cost.tokens) == (len(answer), len(ids) - read)


def test_examples_to_imitate_are_shown_from_where_their_answers_begin(
    make_dataset, tiny, tmp_path
) -> None:
    dataset = make_dataset(
        [Example(f"Ship {n}:? sails.", ((8, 15),) if n < 10 else ((9, 16),)) for n in range(40)]
    )
    quality = quality_of(CausalLm(), dataset, tmp_path, torch.device("cpu"))

    assert "Ship 8:?⟶" in quality.sheet(tiny).text
    metrics = quality.measure(tiny, quick=False)
    assert metrics["bits_per_byte"].floor is None, "a compressor reads no questions"
    assert metrics["distinct_1"].n == 4


def test_of_a_long_example_the_end_is_continued(make_dataset, tiny, tmp_path) -> None:
    """Longer than the context, it would be refused, and count as a text without repetition."""
    question = "What of the ships that sailed? " * 60
    examples = [
        Example(f"{question}{n} They sank.", ((len(question), len(question) + 12),))
        for n in range(10, 50)
    ]
    quality = quality_of(CausalLm(), make_dataset(examples), tmp_path, torch.device("cpu"))

    continued = quality._continue(tiny, [example.text for example in examples[:3]])

    assert all(continued)
