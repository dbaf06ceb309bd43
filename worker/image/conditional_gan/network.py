"""Generator and discriminator of square pictures: plain convolutions, no normalisation layers.

B batch, C channels, H height, W width, Z latent length, L number of labels. Pictures are in
[-1, 1]; feature maps lie channels last in memory, up to a quarter faster on a processor.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.errors import Permanent

FIRST_MAP = {16: 4, 28: 7, 32: 4, 64: 4, 128: 4}
"""Picture size → size of the smallest feature map; between them every stage doubles."""

FEATURES = 128
"""Length of the discriminator's last hidden vector, which the label embedding is projected on."""

MOST_LABELS = 10_000
"""Each takes a row of two embeddings."""

SLOPE = 0.2
"""Of the leaky ReLUs."""


@dataclass(frozen=True)
class Architecture:
    """What fixes the shape of every weight."""

    size: int
    channels: int
    width: int
    latent: int
    labels: tuple[str, ...]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read `config.json`. Raises Permanent, naming the value that cannot be."""
        labels = config.get("labels")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise Permanent("config.json: labels is not a list of names")
        if len(labels) > MOST_LABELS:
            raise Permanent(f"config.json: {len(labels)} labels; at most {MOST_LABELS} are served")
        if len(set(labels)) < len(labels):
            raise Permanent("config.json: labels names one twice")
        bounds = {"size": (16, 128), "channels": (1, 3), "width": (16, 512), "latent": (8, 512)}
        for name, (low, high) in bounds.items():
            value = config.get(name)
            if type(value) is not int or not low <= value <= high:
                raise Permanent(
                    f"config.json: {name} is {value!r}, not a whole number {low} to {high}"
                )
        found = cls(**{name: config[name] for name in bounds}, labels=tuple(labels))
        found.check()
        return found

    def check(self) -> None:
        """Raise Permanent where no such network exists."""
        if self.size not in FIRST_MAP:
            raise Permanent(
                f"pictures of {self.size} pixels; this family makes {sorted(FIRST_MAP)}"
            )
        if self.channels not in (1, 3):
            raise Permanent(f"pictures of {self.channels} channels; this family makes 1 or 3")

    def as_config(self) -> dict[str, Any]:
        return {**asdict(self), "labels": list(self.labels)}

    @property
    def maps(self) -> list[int]:
        """Sizes of the feature maps, from the smallest to the picture's own."""
        sizes = [FIRST_MAP[self.size]]
        while sizes[-1] < self.size:
            sizes.append(sizes[-1] * 2)
        return sizes

    def channels_at(self, size: int) -> int:
        """Fewer channels on larger maps, so that stages cost alike; a multiple of 8."""
        return max(16, 8 * round(self.width * min(1.0, 8 / size) / 8))


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps its input's variance through the leaky ReLU (He et al. 2015)."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    layer.bias = nn.Parameter(torch.zeros(outputs))
    return layer


def linear(inputs: int, outputs: int) -> nn.Linear:
    """The same for a dense layer."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    layer.bias = nn.Parameter(torch.zeros(outputs))
    return layer


class Upscale(nn.Module):
    """Nearest-neighbour upsampling by 2 and then a 3x3 convolution, computed as one.

    Most products of the plain way are of one pixel with different weights. Adding those weights
    first leaves a 4x4 kernel on the small map, 2 to 5 times faster on a processor. The result is
    the same; so it draws no checkerboard, unlike a strided transposed convolution whose weights
    are free (Odena et al. 2016).
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.kaiming_normal_(self.weight, a=SLOPE)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, 2H, 2W)"""
        padded = F.pad(self.weight.flip(2, 3), (1, 1, 1, 1))
        summed = padded[..., 1:, :] + padded[..., :-1, :]
        kernel = summed[..., 1:] + summed[..., :-1]
        return F.conv_transpose2d(hidden, kernel.transpose(0, 1), self.bias, stride=2, padding=1)


class Generator(nn.Module):
    """Latent (B, Z) and label weights (B, L) → pictures (B, C, H, W) in [-1, 1]."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        maps = architecture.maps
        channels = [architecture.channels_at(size) for size in maps]
        self.first = (channels[0], maps[0], maps[0])
        inputs = architecture.latent
        if architecture.labels:
            # The label weights as the latent sees them: a mix of labels is a mix of embeddings.
            self.label = nn.Linear(len(architecture.labels), architecture.latent, bias=False)
            nn.init.normal_(self.label.weight)
            inputs += architecture.latent
        self.spread = linear(inputs, channels[0] * maps[0] ** 2)
        self.grow = nn.ModuleList(Upscale(*pair) for pair in pairwise(channels))
        self.paint = convolution(channels[-1], architecture.channels)
        # Start near mid-grey: a saturated tanh passes no gradient.
        nn.init.normal_(self.paint.weight, std=0.5 / (9 * channels[-1]) ** 0.5)
        _channels_last(self)

    def forward(self, latent_bz: Tensor, weights_bl: Tensor) -> Tensor:
        if weights_bl.shape[1]:
            latent_bz = torch.cat([latent_bz, self.label(weights_bl)], dim=1)
        hidden = F.leaky_relu(self.spread(latent_bz), SLOPE).unflatten(1, self.first)
        hidden = hidden.contiguous(memory_format=torch.channels_last)
        for stage in self.grow:
            hidden = F.leaky_relu(stage(hidden), SLOPE)
        return torch.tanh(self.paint(hidden))


class Discriminator(nn.Module):
    """Pictures (B, C, H, W) and label weights (B, L) → logits (B,): higher is more real.

    Its strided convolutions have even kernels (4 for a stride of 2), so that every pixel is seen
    equally often; otherwise its gradient would teach the generator a checkerboard.
    """

    def __init__(self, architecture: Architecture):
        super().__init__()
        *larger, smallest = architecture.maps[::-1]
        channels = [architecture.channels, *map(architecture.channels_at, larger)]
        self.shrink = nn.ModuleList(convolution(*pair, 4, 2) for pair in pairwise(channels))
        last = architecture.channels_at(smallest)
        self.look = convolution(channels[-1], last)
        self.judge = linear(last * smallest**2, FEATURES)
        self.real = nn.Linear(FEATURES, 1)
        if architecture.labels:
            self.label = nn.Linear(len(architecture.labels), FEATURES, bias=False)
            nn.init.normal_(self.label.weight, std=FEATURES**-0.5)
        _channels_last(self)

    def forward(self, image_bchw: Tensor, weights_bl: Tensor) -> Tensor:
        hidden = image_bchw
        for stage in self.shrink:
            hidden = F.leaky_relu(stage(hidden), SLOPE)
        hidden = F.leaky_relu(self.look(hidden), SLOPE)
        features = F.leaky_relu(self.judge(hidden.flatten(1)), SLOPE)
        logit = self.real(features).squeeze(1)
        if weights_bl.shape[1]:
            # Projection (Miyato & Koyama 2018): how well the features agree with the label.
            logit = logit + (features * self.label(weights_bl)).sum(1)
        return logit


def _channels_last(network: nn.Module) -> None:
    """Every 4-dimensional weight, and with it every feature map."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
