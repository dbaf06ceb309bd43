"""Choosing tokens: one generator per output, so that what shares a batch changes nothing.

Shapes: B rows of a batch, V entries of the vocabulary, K likeliest.
"""

from collections.abc import Sequence

import torch


def gumbel_noise(
    generators: Sequence[torch.Generator | None], logits_bv: torch.Tensor
) -> torch.Tensor:
    """Float32 noise (B, V) whose argmax with the logits is a sample of their softmax.

    A row without a generator has the same noise everywhere. All is drawn on the CPU whatever the
    device, so the stream of a seed is the same everywhere.
    Source: Gumbel (1954); Maddison, Tarlow and Minka, "A* Sampling" (2014).
    """
    uniform_bv = torch.full(logits_bv.shape, 0.5, dtype=torch.float32)
    for uniform_v, generator in zip(uniform_bv, generators, strict=False):
        if generator is not None:
            uniform_v.uniform_(generator=generator)
    return -torch.log(-torch.log(uniform_bv.to(logits_bv.device)))


def nucleus(logits_bv: torch.Tensor, top_p_b: torch.Tensor) -> torch.Tensor:
    """Logits with all but the likeliest tokens up to the mass `top_p` at minus infinity.

    The token that crosses the mass stays. A row with top_p of 1 or more comes back as it was.
    Source: Holtzman et al., "The Curious Case of Neural Text Degeneration" (2019).
    """
    sorted_bv, order_bv = torch.sort(logits_bv, dim=-1, descending=True, stable=True)
    probability_bv = torch.softmax(sorted_bv, dim=-1)
    before_bv = torch.cumsum(probability_bv, dim=-1) - probability_bv
    sorted_bv = sorted_bv.masked_fill(before_bv >= top_p_b[:, None], -torch.inf)
    kept_bv = torch.empty_like(logits_bv).scatter_(-1, order_bv, sorted_bv)
    return torch.where(top_p_b[:, None] >= 1, logits_bv, kept_bv)


def choose(
    logits_bv: torch.Tensor,
    temperature_b: torch.Tensor,
    top_p_b: torch.Tensor,
    generators: Sequence[torch.Generator | None],
) -> torch.Tensor:
    """One token (B,) per row, from float32 logits. `top_p_b` is on the CPU: it is looked at here.

    A row without a generator, or with temperature 0, takes its likeliest token.
    """
    greedy_b = temperature_b == 0
    scaled_bv = logits_bv / torch.where(greedy_b, 1.0, temperature_b)[:, None]
    if bool((top_p_b < 1).any()):
        scaled_bv = nucleus(scaled_bv, top_p_b.to(logits_bv.device))

    noise_bv = gumbel_noise(generators, logits_bv)
    return (scaled_bv + torch.where(greedy_b[:, None], 0.0, noise_bv)).argmax(dim=-1)
