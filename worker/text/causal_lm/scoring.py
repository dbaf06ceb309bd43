"""How many bits a model spends on a text: what makes models with different vocabularies comparable.

Shapes: B windows of a pass, T tokens of a window.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from worker.dataset import Example
from worker.family import UNWATCHED, Run, check
from worker.text.causal_lm.model import LoadedText
from worker.text.causal_lm.tokenizer import encode_examples
from worker.text.causal_lm.windows import NO_TARGET

WINDOW_LIMIT = 1024
"""Longest window in tokens: beyond it, more context costs more than it tells."""

TOKENS_PER_PASS = 4096


@dataclass(frozen=True)
class Cost:
    """What a text cost."""

    bits: float
    tokens: int
    right: int
    """Tokens that the model held for the likeliest."""
    bytes: int

    @property
    def bits_per_byte(self) -> float:
        return self.bits / self.bytes

    @property
    def mean_loss(self) -> float:
        """Nats a token."""
        return self.bits * math.log(2) / max(1, self.tokens)

    @property
    def accuracy(self) -> float:
        return self.right / max(1, self.tokens)


def cost_of(
    loaded: LoadedText, examples: Sequence[Example], overlap: float = 0.75, run: Run = UNWATCHED
) -> Cost:
    """The bits that `loaded` spends on what is to be learnt, in windows that overlap.

    Every token is predicted once, by the window that gives it the most context: at least `overlap`
    of a window, save at the very start. A text's end costs bits and counts no byte. Raises
    Stopped once `run` should stop.
    """
    stream_t, learnt_t = encode_examples(loaded.tokenizer, examples, loaded.start_id)
    goal_t = np.where(learnt_t, stream_t, NO_TARGET)
    window = min(loaded.context, WINDOW_LIMIT)
    stride = max(1, round(window * (1 - overlap)))
    inputs_bt, targets_bt = _windows(stream_t, goal_t, window, stride)
    rows = max(1, TOKENS_PER_PASS // window)
    nats, right = 0.0, 0
    for start in range(0, len(inputs_bt), rows):
        check(run)
        some = slice(start, start + rows)
        more_nats, more_right = _score(loaded, inputs_bt[some], targets_bt[some])
        nats, right = nats + more_nats, right + more_right
    return Cost(
        bits=nats / math.log(2),
        tokens=int(learnt_t[1:].sum()),
        right=right,
        bytes=sum(map(_bytes, examples)),
    )


def _bytes(example: Example) -> int:
    if example.learnt is None:
        return len(example.text.encode())
    return sum(len(example.text[start:end].encode()) for start, end in example.learnt)


def _windows(
    stream_t: np.ndarray, goal_t: np.ndarray, window: int, stride: int
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets (B, T): the targets that an earlier window had are NO_TARGET."""
    predictions = len(stream_t) - 1
    count = 1 + max(0, -(-(predictions - window) // stride))
    inputs_bt = np.zeros((count, window), np.int64)
    targets_bt = np.full((count, window), NO_TARGET, np.int64)
    done = 0
    for row in range(count):
        start = row * stride
        end = min(start + window, predictions)
        inputs_bt[row, : end - start] = stream_t[start:end]
        targets_bt[row, done - start : end - start] = goal_t[done + 1 : end + 1]
        done = end
    return inputs_bt, targets_bt


def _score(loaded: LoadedText, inputs_bt: np.ndarray, targets_bt: np.ndarray) -> tuple[float, int]:
    """The nats spent on the targets, and how many of these were the likeliest."""
    device = loaded.model.device
    targets = torch.from_numpy(targets_bt).to(device)
    with torch.inference_mode():
        hidden = loaded.model(torch.from_numpy(inputs_bt).to(device), use_cache=False).logits
        wanted = targets != NO_TARGET
        logits_nv, targets_n = hidden[wanted], targets[wanted]
        loss = F.cross_entropy(logits_nv.float(), targets_n, reduction="sum")
        right = (logits_nv.argmax(-1) == targets_n).sum()
    return float(loss), int(right)
