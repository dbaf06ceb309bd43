"""What one step of a training computes, in one piece: nothing of it waits for the processor.

Shapes: B windows of a step, T tokens of a window, V entries of the vocabulary.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from worker.device import fast_precision
from worker.text.causal_lm.windows import NO_TARGET


def learn(
    model: PreTrainedModel, inputs_bt: Tensor, targets_bt: Tensor
) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
    """The mean loss, how many targets were held for the likeliest, and a gradient per parameter."""
    with fast_precision(inputs_bt.device):
        logits_btv = model(inputs_bt, use_cache=False).logits
    # A window of a long prompt has nothing to learn, which is no reason to divide by 0.
    learnt = (targets_bt != NO_TARGET).sum().clamp(min=1)
    loss_sum = F.cross_entropy(
        logits_btv.float().flatten(0, 1),
        targets_bt.flatten(),
        ignore_index=NO_TARGET,
        reduction="sum",
    )
    loss = loss_sum / learnt
    right = (logits_btv.detach().argmax(-1) == targets_bt).sum()
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return loss.detach(), right, gradients
