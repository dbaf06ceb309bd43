"""Bits per byte are what they say, and stand beside the rival that everybody knows."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from worker.dataset import Example
from worker.family import Text
from worker.text.causal_lm.family import CausalLm
from worker.text.causal_lm.scoring import _windows, cost_of
from worker.text.causal_lm.stream import NO_TARGET
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
