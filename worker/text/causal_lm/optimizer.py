"""Muon for the layers' matrices, AdamW for embeddings and norms."""

from collections.abc import Iterable

import torch
from torch import nn
from transformers import PreTrainedModel

# Coefficients of the quintic iteration, chosen for the steepest slope at zero (Jordan, 2024).
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonal(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """The nearest half-orthogonal matrix, roughly: singular values between 0.7 and 1.2.

    Source: Keller Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024). In the
    matrix's own precision: torch's Muon computes in bfloat16, which many CPUs only emulate.
    """
    a, b, c = QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


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
            for matrix in group["params"]:
                state = self.state[matrix]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(matrix)
                momentum = state["momentum"].lerp_(matrix.grad, 1 - group["momentum"])
                direction = orthogonal(matrix.grad.lerp(momentum, group["momentum"]))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(direction, alpha=-0.2 * max(matrix.shape) ** 0.5 * group["lr"])


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
