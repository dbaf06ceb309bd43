"""What the discriminator sees: pictures moved or recoloured at random, real and generated alike.

So a small data set is not learned by heart; and as both sides are changed, differentiably, no
change leaks into what is generated (Zhao et al. 2020, arXiv 2006.10738).
B batch, C channels, H height, W width, K numbers drawn per picture; pictures in [-1, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Augment:
    """A change at random, in two halves: chance is drawn on the CPU, and then applied where the
    pictures are.
    """

    draw: Callable[[int, Generator], Tensor]
    """A number of pictures and a source of chance → float32 (K, B)."""
    apply: Callable[[Tensor, Tensor], Tensor]
    """Pictures (B, C, H, W) and what was drawn for them → pictures of the same shape."""


def augmentation(
    name: Literal["auto", "none", "shift", "colour"], channels: int, size: int
) -> Augment:
    """The augmentation that a training asks for; `auto` decides by the channels."""
    if name == "auto":
        name = "shift" if channels == 1 else "colour"
    if name == "none":
        return Augment(lambda batch, _: torch.zeros(0, batch), lambda image, _: image)
    if name == "shift":
        return Augment(lambda *given: _moves(size // 14, *given), shift)

    def draw(batch: int, chance: Generator) -> Tensor:
        turns_and_colours = [torch.rand(1, batch, generator=chance) for _ in range(4)]
        moves = _moves(size // 8, batch, chance)
        centres = torch.randint(0, size + 1, (2, batch), generator=chance)
        return torch.cat([*turns_and_colours, moves, centres])

    return Augment(draw, _recoloured)


def _moves(pixels: int, batch: int, chance: Generator) -> Tensor:
    """By how many pixels to move, down and to the right, (2, B)."""
    pixels = max(1, pixels)
    return torch.randint(-pixels, pixels + 1, (2, batch), generator=chance).float()


def shift(image: Tensor, moved_2b: Tensor) -> Tensor:
    """Move each picture, down and to the right; the border is repeated into the gap.

    Without mirroring: a mirrored digit is no digit.
    """
    batch, channels, height, width = image.shape
    down_b1, right_b1 = moved_2b.long()[:, :, None]
    row_bh = (torch.arange(height, device=image.device) + down_b1).clamp(0, height - 1)
    column_bw = (torch.arange(width, device=image.device) + right_b1).clamp(0, width - 1)
    source_bp = (row_bh[:, :, None] * width + column_bw[:, None, :]).flatten(1)
    source_bcp = source_bp[:, None, :].expand(-1, channels, -1)
    return image.flatten(2).gather(2, source_bcp).view(batch, channels, height, width)


def mirror(image: Tensor, drawn_b: Tensor) -> Tensor:
    """Mirror every second picture, left to right."""
    return torch.where(_per_picture(drawn_b) < 0.5, image.flip(3), image)


def recolour(image: Tensor, drawn_3b: Tensor) -> Tensor:
    """Change brightness, then saturation, then contrast."""
    brightness, saturation, contrast = map(_per_picture, drawn_3b)
    image = image + (brightness - 0.5)
    grey = image.mean(dim=1, keepdim=True)
    image = grey + (image - grey) * (2 * saturation)
    middle = image.mean(dim=(1, 2, 3), keepdim=True)
    return middle + (image - middle) * (0.5 + contrast)


def cut_out(image: Tensor, centre_2b: Tensor) -> Tensor:
    """Cover a square of half the picture's size with mid-grey, anywhere, also half outside."""
    _, _, height, width = image.shape
    half = height // 4
    row = torch.arange(height, device=image.device).view(1, 1, height, 1)
    column = torch.arange(width, device=image.device).view(1, 1, 1, width)
    down, right = map(_per_picture, centre_2b)
    return image * ~(((row - down).abs() < half) & ((column - right).abs() < half))


def _recoloured(image: Tensor, drawn_8b: Tensor) -> Tensor:
    image = recolour(mirror(image, drawn_8b[0]), drawn_8b[1:4])
    return cut_out(shift(image, drawn_8b[4:6]), drawn_8b[6:8])


def _per_picture(drawn_b: Tensor) -> Tensor:
    """(B, 1, 1, 1)"""
    return drawn_b[:, None, None, None]
