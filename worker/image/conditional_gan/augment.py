"""What the discriminator sees: pictures moved or recoloured at random, real and generated alike.

So a small data set is not learned by heart; and as both sides are changed, differentiably, no
change leaks into what is generated (Zhao et al. 2020, arXiv 2006.10738).
B batch, C channels, H height, W width; pictures in [-1, 1].
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Generator, Tensor

Augment = Callable[[Tensor, Generator], Tensor]
"""Pictures (B, C, H, W) and a source of chance on the CPU → pictures of the same shape."""


def augmentation(name: Literal["auto", "none", "shift", "colour"], channels: int) -> Augment:
    """The augmentation that a training asks for; `auto` decides by the channels."""
    if name == "auto":
        name = "shift" if channels == 1 else "colour"
    return {"none": _as_it_is, "shift": _slightly_shifted, "colour": _recoloured}[name]


def shift(image: Tensor, pixels: int, chance: Generator) -> Tensor:
    """Move each picture by up to `pixels` both ways; the border is repeated into the gap.

    Without mirroring: a mirrored digit is no digit.
    """
    batch, channels, height, width = image.shape
    down_b, right_b = torch.randint(-pixels, pixels + 1, (2, batch, 1), generator=chance)
    row_bh = (torch.arange(height) + down_b).clamp(0, height - 1)
    column_bw = (torch.arange(width) + right_b).clamp(0, width - 1)
    source_bp = (row_bh[:, :, None] * width + column_bw[:, None, :]).flatten(1)
    source_bcp = source_bp.to(image.device)[:, None, :].expand(-1, channels, -1)
    return image.flatten(2).gather(2, source_bcp).view(batch, channels, height, width)


def mirror(image: Tensor, chance: Generator) -> Tensor:
    """Mirror every second picture, left to right."""
    mirrored_b = _uniform(image, chance) < 0.5
    return torch.where(mirrored_b, image.flip(3), image)


def recolour(image: Tensor, chance: Generator) -> Tensor:
    """Change brightness, then saturation, then contrast."""
    image = image + (_uniform(image, chance) - 0.5)
    grey = image.mean(dim=1, keepdim=True)
    image = grey + (image - grey) * (2 * _uniform(image, chance))
    middle = image.mean(dim=(1, 2, 3), keepdim=True)
    return middle + (image - middle) * (0.5 + _uniform(image, chance))


def cut_out(image: Tensor, chance: Generator) -> Tensor:
    """Cover a square of half the picture's size with mid-grey, anywhere, also half outside."""
    batch, _, height, width = image.shape
    half = height // 4
    centre = torch.randint(0, height + 1, (2, batch, 1, 1, 1), generator=chance).to(image.device)
    row = torch.arange(height, device=image.device).view(1, 1, height, 1)
    column = torch.arange(width, device=image.device).view(1, 1, 1, width)
    covered = ((row - centre[0]).abs() < half) & ((column - centre[1]).abs() < half)
    return image * ~covered


def _as_it_is(image: Tensor, chance: Generator) -> Tensor:  # noqa: ARG001 - an Augment
    return image


def _slightly_shifted(image: Tensor, chance: Generator) -> Tensor:
    return shift(image, max(1, image.shape[3] // 14), chance)


def _recoloured(image: Tensor, chance: Generator) -> Tensor:
    image = recolour(mirror(image, chance), chance)
    return cut_out(shift(image, max(1, image.shape[3] // 8), chance), chance)


def _uniform(image: Tensor, chance: Generator) -> Tensor:
    """One number in [0, 1) per picture, (B, 1, 1, 1)."""
    return torch.rand((len(image), 1, 1, 1), generator=chance).to(image.device)
