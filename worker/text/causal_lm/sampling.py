"""Choosing tokens: one generator per output, so that what shares a batch changes nothing.

Shapes: B rows of a batch, V entries of the vocabulary, K likeliest.
"""

from collections.abc import Sequence

import torch


def gumbel_noise(generator: torch.Generator, vocabulary: int) -> torch.Tensor:
    """Float32 noise (V,) whose argmax with logits is a sample of their softmax.

    Drawn on the CPU whatever the device, so the stream of a seed is the same everywhere.
    Source: Gumbel (1954); Maddison, Tarlow and Minka, "A* Sampling" (2014).
    """
    uniform_v = torch.rand(vocabulary, generator=generator, dtype=torch.float32)
    return -torch.log(-torch.log(uniform_v))


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
    """One token (B,) per row, from float32 logits.

    A row without a generator, or with temperature 0, takes its likeliest token.
    """
    greedy_b = temperature_b == 0
    scaled_bv = logits_bv / torch.where(greedy_b, 1.0, temperature_b)[:, None]
    if bool((top_p_b < 1).any()):
        scaled_bv = nucleus(scaled_bv, top_p_b)

    noise_bv = torch.zeros(logits_bv.shape, dtype=torch.float32)
    for row, generator in enumerate(generators):
        if generator is not None:
            noise_bv[row] = gumbel_noise(generator, logits_bv.shape[-1])
    noise_bv = noise_bv.to(logits_bv.device)

    return (scaled_bv + torch.where(greedy_b[:, None], 0.0, noise_bv)).argmax(dim=-1)
