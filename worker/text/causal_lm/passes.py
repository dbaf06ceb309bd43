"""The forward passes of one batch: prompts padded on the left, then a token at a time.

Shapes: B rows, T tokens, C cache slots, V entries of the vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import StaticCache

from shared.families.causal_lm import FAMILY
from worker.replay import Replayed
from worker.text.causal_lm.model import LoadedText


class Batch:
    """Up to FAMILY.rows prompts of one shape; dummies fill the batch up."""

    def __init__(self, loaded: LoadedText, shape: tuple[int, int], prompts: list[list[int]]):
        width, slots = shape
        device = loaded.model.device
        dummies = [[loaded.start_id]] * (FAMILY.rows - len(prompts))
        ids_bt = torch.full((FAMILY.rows, width), loaded.start_id)
        mask_bc = torch.zeros((FAMILY.rows, slots), dtype=torch.long)
        for row, prompt_ids in enumerate([*prompts, *dummies]):
            ids_bt[row, width - len(prompt_ids) :] = torch.tensor(prompt_ids)
            mask_bc[row, width - len(prompt_ids) : width] = 1
        self._loaded = loaded
        self._cache = loaded.new_cache(slots)
        self._ids_bt = ids_bt.to(device)
        self._mask_bc = mask_bc.to(device)
        self._position_bt = (self._mask_bc[:, :width].cumsum(dim=-1) - 1).clamp(min=0)

        position_b1, slot_1 = self._position_bt[:, -1:].clone(), torch.tensor([width]).to(device)
        step = _Step(loaded, self._cache, self._mask_bc, position_b1, slot_1)
        self._step = Replayed(step, device, fixed=loaded.is_fixed)

    def prefill(self) -> Tensor:
        """Logits (B, V) after the prompts."""
        return self._loaded.next_logits(self._ids_bt, self._mask_bc, self._position_bt, self._cache)

    def step(self, token_b: Tensor) -> Tensor:
        """Logits (B, V) after one more token of each row; they stand until the next step."""
        return self._step(token_b[:, None])


@dataclass(frozen=True)
class _Step:
    """A step, and what it moves on for the next."""

    loaded: LoadedText
    cache: StaticCache
    mask_bc: Tensor
    position_b1: Tensor
    slot_1: Tensor
    """Where in the cache the next token goes."""

    def __call__(self, token_b1: Tensor) -> Tensor:
        """Logits (B, V) after one more token of each row."""
        self.mask_bc.index_fill_(1, self.slot_1, 1)
        self.slot_1.add_(1)
        self.position_b1.add_(1)
        return self.loaded.next_logits(token_b1, self.mask_bc, self.position_b1, self.cache)
