"""Muon for the layers' matrices, AdamW for embeddings and norms."""

from collections.abc import Iterable, Iterator

import torch
from torch import nn
from transformers import PreTrainedModel

# Coefficients of the quintic iteration, chosen for the steepest slope at zero (Jordan, 2024).
QUINTIC = (3.4445, -4.7750, 2.0315)

TOGETHER = 1 << 24
"""Weights of the matrices that are made orthogonal at once."""


def orthogonal(matrices_nij: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """The nearest half-orthogonal matrices, roughly: singular values between 0.7 and 1.2.

    Source: Keller Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024). In the
    matrices' own precision: torch's Muon computes in bfloat16, which many CPUs only emulate.
    """
    a, b, c = QUINTIC
    is_wide = matrices_nij.shape[1] <= matrices_nij.shape[2]
    wide = matrices_nij if is_wide else matrices_nij.mT
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if is_wide else wide.mT


class Muon(torch.optim.Optimizer):
    """Momentum whose direction is made orthogonal, with the size of a step of AdamW.

    The scale 0.2·√(larger side) gives the root mean square of AdamW's steps, so one learning rate
    serves both (Liu et al., "Muon is scalable for LLM training", 2025).
    """

    def __init__(
        self, matrices: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float
    ):
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for matrices in _alike(group["params"]):
                gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
                momenta = [self._momentum(matrix) for matrix in matrices]
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
                directions = orthogonal(torch.stack(ahead)).unbind()
                scale = 0.2 * max(matrices[0].shape) ** 0.5
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(matrices, directions, alpha=-scale * group["lr"])

    def _momentum(self, matrix: torch.Tensor) -> torch.Tensor:
        state = self.state[matrix]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(matrix)
        return state["momentum"]


def _alike(matrices: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Matrices of one shape that have a gradient. Together, because a GPU has too little to do with
    one of them; few enough at a time that their copies take little memory.
    """
    by_shape: dict[torch.Size, list[torch.Tensor]] = {}
    for matrix in matrices:
        if matrix.grad is not None:
            by_shape.setdefault(matrix.shape, []).append(matrix)
    for shape, found in by_shape.items():
        size = max(1, TOGETHER // shape.numel())
        for start in range(0, len(found), size):
            yield found[start : start + size]


def optimizers_of(model: PreTrainedModel, rate: float) -> list[torch.optim.Optimizer]:
    """Matrices inside the layers learn by Muon; embeddings, the head and norms by AdamW."""
    outer = {id(weight) for weight in model.get_input_embeddings().parameters()}
    head = model.get_output_embeddings()
    outer |= {id(weight) for weight in head.parameters()} if head is not None else set()
    weights = list(model.parameters())
    matrices = [weight for weight in weights if weight.ndim == 2 and id(weight) not in outer]
    others = [weight for weight in weights if weight.ndim != 2 or id(weight) in outer]
    return [
        Muon(matrices, lr=rate, momentum=0.95, weight_decay=0.1),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
