"""How good a language model is: bits per byte beside `xz`, and how much its texts repeat."""

import lzma
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from shared.errors import Permanent
from shared.families.causal_lm import TextParams
from worker.dataset import Example, Split, TextDataset
from worker.family import (
    UNWATCHED,
    Implementation,
    Loaded,
    Part,
    Refusal,
    Request,
    Run,
    Text,
    check,
)
from worker.quality import Metric
from worker.text.causal_lm.model import LoadedText
from worker.text.causal_lm.scoring import cost_of
from worker.text.validity import OVERLAP, validity

QUICK_CHARACTERS = 16_000
FULL_CHARACTERS = 1_000_000
"""Most text of a split that is scored, taken in equal pieces from all over it."""

RIVAL_CHARACTERS = 8_000_000
"""Most training text that the rival compressor has seen."""

XZ_PIECE_BYTES = 1 << 18
"""Compressed between two looks at whether to go on: a fifth of a second."""

CONTINUATIONS = 48
PROMPT_CHARACTERS = 80
CONTINUATION_TOKENS = 64
SHEET_PROMPTS = 4

UNIT = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff]+|[^\w\s]"
)
"""A word, a punctuation mark, or one character of a script without spaces."""


def quality_of(
    family: Implementation,
    dataset: TextDataset,
    cache: Path,
    device: torch.device,
    run: Run = UNWATCHED,
) -> "TextQuality":
    """Measures on this data set. Nothing is learnt, so `cache` and `device` stay untouched."""
    del cache, device
    return TextQuality(family, dataset, run)


class TextQuality:
    """Implements `worker.quality.Quality`.

    `bits_per_byte`: all bits that the model spends on the text, by the UTF-8 bytes of the text;
    see `cost_of` for the windows. Its floor is the rival `xz -9e` that has read the training text
    too: by how much an archive of both texts is larger than one of the training text. Of examples
    to imitate only the answers count, for which there is no such rival.
    """

    objective = "bits_per_byte"

    def __init__(self, family: Implementation, dataset: TextDataset, run: Run):
        self._family = family
        self._run = run
        self._dataset = dataset
        held_back = _held_back(dataset, "validation", "test")
        self._validation = _excerpt(held_back, QUICK_CHARACTERS)
        whole = _excerpt(held_back, FULL_CHARACTERS)
        self._whole = whole if whole != self._validation else None
        self._test = _excerpt(_held_back(dataset, "test", "validation"), FULL_CHARACTERS)
        self._rival: float | None = None

    def measure(self, loaded: Loaded, *, quick: bool) -> dict[str, Metric]:
        """`quick`: bits per byte of a validation excerpt, and the losses on a validation file if
        there is one; else the metrics of the test split.
        """
        assert isinstance(loaded, LoadedText)
        if quick:
            cost = cost_of(loaded, self._validation, OVERLAP, self._run)
            measured = {self.objective: Metric(cost.bits_per_byte, "lower", cost.bytes)}
            if self._dataset.validation is not None:
                measured |= validity(loaded, cost, self._whole, self._run)
            return measured
        cost = cost_of(loaded, self._test, run=self._run)
        bits = Metric(cost.bits_per_byte, "lower", cost.bytes)
        if not any(example.learnt for example in self._test):  # a rival of whole texts only
            bits = replace(bits, floor=self._rival_bits(), against="xz -9e")
        return {self.objective: bits, **self._variety(loaded)}

    def sheet(self, loaded: Loaded) -> Text:
        """Prompts of the validation split, each with the model's continuation."""
        cuts = list(_cuts(self._validation, SHEET_PROMPTS))
        parts = self._continue(loaded, [prompt for prompt, _ in cuts])
        blocks = [f"{prompt}⟶{part}" for (prompt, _), part in zip(cuts, parts, strict=True)]
        return Text("\n\n― ― ―\n\n".join(blocks))

    def _rival_bits(self) -> float:
        if self._rival is None:
            seen = _excerpt(_examples(self._dataset, "train"), RIVAL_CHARACTERS)
            self._rival = xz_bits_per_byte(_joined(seen), _joined(self._test), self._run)
        return self._rival

    def _variety(self, loaded: Loaded) -> dict[str, Metric]:
        """Repetition and distinct n-grams of continuations, beside the real texts' own."""
        cuts = list(_cuts(self._test, CONTINUATIONS))
        made = [UNIT.findall(text) for text in self._continue(loaded, [p for p, _ in cuts])]
        real = [UNIT.findall(rest) for _, rest in cuts]
        # Equal lengths on both sides: each of these numbers depends on the length.
        pairs = [(m[: len(r)], r[: len(m)]) for m, r in zip(made, real, strict=True)]
        made, real = [m for m, _ in pairs], [r for _, r in pairs]
        count = len(cuts)
        return {
            "repetition": Metric(repetition(made), "lower", count, repetition(real), "test split"),
            "distinct_1": Metric(
                distinct(made, 1), "higher", count, distinct(real, 1), "test split"
            ),
            "distinct_2": Metric(
                distinct(made, 2), "higher", count, distinct(real, 2), "test split"
            ),
        }

    def _continue(self, loaded: Loaded, prompts: Sequence[str]) -> list[str]:
        """One continuation of each prompt, seeds counted from 0. Of a long one the end counts."""
        assert isinstance(loaded, LoadedText)
        tokens = min(CONTINUATION_TOKENS, loaded.context // 2)
        fitting = [_end_of(prompt, loaded, loaded.context - tokens) for prompt in prompts]
        requests = [
            Request(TextParams(prompt=prompt, seed=seed, max_tokens=tokens))
            for seed, prompt in enumerate(fitting)
        ]
        texts = [""] * len(requests)
        for part in self._family.generate(loaded, requests, self._run):
            if isinstance(part, Refusal):
                raise part.error
            if isinstance(part, Part) and isinstance(part.media, Text):
                texts[part.request] = part.media.text
        check(self._run)
        return texts


def _end_of(prompt: str, loaded: LoadedText, tokens: int) -> str:
    """As much of a prompt's end as surely has no more tokens than these."""
    while (count := len(loaded.encode(prompt))) > tokens:
        prompt = prompt[-(len(prompt) * tokens // count) :] if len(prompt) > 1 else ""
    return prompt


def xz_bits_per_byte(seen: bytes, text: bytes, run: Run = UNWATCHED) -> float:
    """Bits per byte that `xz -9e` adds for `text` to an archive of `seen`.

    Raises Stopped once `run` should stop.
    """
    return (_xz_bytes(seen + text, run) - _xz_bytes(seen, run)) * 8 / len(text)


def _xz_bytes(content: bytes, run: Run) -> int:
    compressor = lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME)
    size = 0
    for start in range(0, len(content), XZ_PIECE_BYTES):
        check(run)
        size += len(compressor.compress(content[start : start + XZ_PIECE_BYTES]))
    return size + len(compressor.flush())


def repetition(texts: Sequence[Sequence[str]]) -> float:
    """Share of 4-grams that stood earlier in the same text."""
    total = repeated = 0
    for units in texts:
        grams = _grams(units, 4)
        total += len(grams)
        repeated += len(grams) - len(set(grams))
    return repeated / max(1, total)


def distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Distinct n-grams of all texts together, by all n-grams (Li et al., 2016)."""
    grams = [gram for units in texts for gram in _grams(units, n)]
    return len(set(grams)) / max(1, len(grams))


def _grams(units: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(units[start : start + n]) for start in range(len(units) - n + 1)]


def _held_back(dataset: TextDataset, wanted: Split, instead: Split) -> list[Example]:
    """A split's examples, or the other one's where it has none. Raises Permanent without any."""
    found = _examples(dataset, wanted) or _examples(dataset, instead)
    if not found:
        raise Permanent(
            "the data set holds back no text to measure a model with: prepare it with larger "
            "shares for validation and test"
        )
    return found


def _examples(dataset: TextDataset, split: Split) -> list[Example]:
    """A split's examples that hold text."""
    return [example for example in dataset.examples(split) if example.text]


def _joined(examples: Sequence[Example]) -> bytes:
    return "".join(example.text for example in examples).encode()


def _excerpt(examples: Sequence[Example], characters: int) -> list[Example]:
    """All examples, or about this many characters: the middles of texts from all over."""
    total = sum(len(example.text) for example in examples)
    if total <= characters:
        return list(examples)
    mean = -(-total // len(examples))
    count = min(len(examples), -(-characters // mean))
    share = characters // count
    chosen = [examples[place * len(examples) // count] for place in range(count)]
    return [_middle(example, share) for example in chosen]


def _middle(example: Example, characters: int) -> Example:
    """An example to imitate stays whole: an answer without its question says nothing."""
    if example.learnt is not None:
        return example
    start = max(0, (len(example.text) - characters) // 2)
    return Example(example.text[start : start + characters])


def _cuts(examples: Sequence[Example], count: int) -> Iterator[tuple[str, str]]:
    """Up to `count` places all over: what stands before each, and what follows it.

    Where there are examples to imitate, these places are where their answers begin.
    """
    answered = [example for example in examples if example.learnt]
    if answered:
        for example in answered[:: -(-len(answered) // count)]:
            start, end = (example.learnt or ())[-1]
            yield example.text[:start], example.text[start:end]
        return
    text = "\n".join(example.text for example in examples)
    step = len(text) // (count + 1)
    for number in range(1, count + 1):
        place = number * step
        following = text[place : place + CONTINUATION_TOKENS * 8]
        yield text[max(0, place - PROMPT_CHARACTERS) : place], following
