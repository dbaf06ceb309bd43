"""One output while it grows: its tokens, when it ends, and what its record says."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from shared.families.causal_lm import TextParams
from worker.family import JsonDict, Part, Piece, Text, output_seed
from worker.text.causal_lm.logprobs import Logprobs
from worker.text.causal_lm.model import INCOMPLETE, LoadedText

STOP_SLACK = 4
"""Tokens decoded beyond a stop text's bytes: special tokens and the first one's lost space."""


@dataclass
class Row:
    """Output `index` of request `request`."""

    loaded: LoadedText
    request: int
    index: int
    params: TextParams
    prompt_ids: list[int]
    watched: bool = False
    """Whether somebody wants to see it grow."""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str | None = None

    def __post_init__(self) -> None:
        self.seed = output_seed(self.params.seed or 0, self.index)
        self.generator = torch.Generator().manual_seed(self.seed)
        self.stops = self.loaded.stops_of(self.params)
        self._described = None if self.params.logprobs is None else Logprobs()
        self._shown, self._shown_tokens = 0, 0
        self._whole_ids, self._whole_text = 0, ""

    def add(self, token: int, logprob: float, likeliest: list[tuple[int, float]]) -> None:
        """Take one token; afterwards `finish_reason` is set if it was the last."""
        self.ids.append(token)
        self.logprobs.append(logprob)
        self._describe(logprob, likeliest)
        if token in self.loaded.end_ids or self._stop_in_sight():
            self.finish_reason = "stop"
        elif len(self.ids) == self.params.max_tokens:
            self.finish_reason = "length"

    def _describe(self, logprob: float, likeliest: list[tuple[int, float]]) -> None:
        if self._described is None:
            return
        top: dict[str, float] = {}
        for token, value in likeliest[: self.params.logprobs]:
            top.setdefault(self.loaded.spell(token), value)
        end = len(self.loaded.decode_after(self.prompt_ids, self.ids))
        self._described.add(end, logprob, top)

    def _stop_in_sight(self) -> bool:
        """Whether a stop text has just been completed. Only the last tokens can have done it."""
        if not self.stops:
            return False
        # Every token that is not special stands for a byte or more.
        window = max(len(stop.encode()) for stop in self.stops) + STOP_SLACK
        recent = self.loaded.decode_after(
            [*self.prompt_ids, *self.ids[:-window]], self.ids[-window:]
        )
        return any(stop in recent for stop in self.stops)

    def made(self) -> Iterator[Piece | Part]:
        """What the last token brought: new text if the row is watched, and at the end the whole."""
        ended = self.finish_reason is not None
        if self.watched:
            text = self._text() if ended else self._settled()
            if ended or len(text) > self._shown:
                yield self._piece(text, ended)
        if ended:
            yield self.part()

    def _piece(self, text: str, ended: bool) -> Piece:
        """What nobody has seen yet of a text and its tokens."""
        start, first = self._shown, self._shown_tokens
        lists: JsonDict | None = None
        if self._described is not None:
            lists = self._described.lists(text, first, is_whole=ended)
            self._shown_tokens += len(lists["tokens"])
        self._shown = len(text)
        return Piece(self.request, self.index, start, text[start:], ended, first, lists)

    def _settled(self) -> str:
        """The text so far, without what later tokens may still change: bytes that are not yet a
        character, and what may be the beginning of a stop text.
        """
        before = [*self.prompt_ids, *self.ids[: self._whole_ids]]
        fresh = self.loaded.decode_all_after(before, self.ids[self._whole_ids :])
        text = self._whole_text + fresh.rstrip(INCOMPLETE)
        if not fresh.endswith(INCOMPLETE):
            self._whole_text, self._whole_ids = text, len(self.ids)
        held = max((_overlap(text, stop) for stop in self.stops), default=0)
        return text[: len(text) - held]

    def part(self) -> Part:
        """The finished output."""
        text = self._text()
        facts: JsonDict = {
            "prompt_tokens": len(self.prompt_ids),
            "completion_tokens": len(self.ids),
            "finish_reason": self.finish_reason,
            "mean_logprob": sum(self.logprobs) / len(self.logprobs),
        }
        if self._described is not None:
            facts["logprobs"] = self._described.lists(text)
        return Part(self.request, self.index, Text(text), self.seed, facts)

    def _text(self) -> str:
        text = self.loaded.decode_after(self.prompt_ids, self.ids)
        ends = [text.find(stop) for stop in self.stops]
        return text[: min((end for end in ends if end >= 0), default=len(text))]


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of a text with which a stop text may begin."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
