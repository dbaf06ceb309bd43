"""The training text as one stream of tokens, and which window of it each step sees.

Shapes: B windows of a step, T tokens of a window.
"""

from functools import lru_cache

import numpy as np
import torch

from shared.errors import Permanent

NO_TARGET = -100
"""What cross-entropy passes over."""

FEWEST_TOKENS = 32
"""A stream shorter than this teaches nothing that could be measured."""


class Windows:
    """Every epoch cuts the stream at another offset and shuffles the windows.

    The step alone decides what is drawn, so a resumed training needs no state of this.
    """

    def __init__(
        self,
        stream_t: np.ndarray,
        context: int,
        batch_size: int,
        seed: int,
        learnt_t: np.ndarray | None = None,
    ):
        if len(stream_t) < FEWEST_TOKENS:
            raise Permanent(
                f"The training split holds {len(stream_t)} tokens of text; a language model needs "
                f"{FEWEST_TOKENS} at the least, and some thousands to learn anything."
            )
        copies = -(-(2 * context + 1) // len(stream_t))
        self._stream_t = torch.from_numpy(np.tile(stream_t, copies).astype(np.int64))
        self._targets_t = self._stream_t
        if learnt_t is not None:
            learnt = torch.from_numpy(np.tile(learnt_t, copies))
            self._targets_t = torch.where(learnt, self._stream_t, NO_TARGET)
        self._context, self._batch_size, self._seed = context, batch_size, seed
        # One window fewer than fit: what the offset takes.
        self._per_epoch = (len(self._stream_t) - 1) // context - 1
        self._starts = lru_cache(maxsize=4)(self._starts_of)

    @property
    def per_epoch(self) -> float:
        """Steps of one epoch."""
        return self._per_epoch / self._batch_size

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets of a step, both int64 (B, T); NO_TARGET is not to be learnt."""
        first = step * self._batch_size
        starts = [self._start(first + row) for row in range(self._batch_size)]
        inputs = [self._stream_t[start : start + self._context] for start in starts]
        targets = [self._targets_t[start + 1 : start + 1 + self._context] for start in starts]
        return torch.stack(inputs), torch.stack(targets)

    def _start(self, number: int) -> int:
        epoch, place = divmod(number, self._per_epoch)
        return int(self._starts(epoch)[place])

    def _starts_of(self, epoch: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        offset = torch.randint(self._context, (), generator=generator)
        return torch.randperm(self._per_epoch, generator=generator) * self._context + offset
