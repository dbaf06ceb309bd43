"""A GAN at rest, `config.json` and `model.safetensors`, and a GAN ready to serve."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from shared.errors import Permanent
from worker.image.conditional_gan.network import Architecture, Discriminator, Generator
from worker.image.conditional_gan.weights import fill, named_weights

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
FAMILY = "conditional_gan"


@dataclass(frozen=True)
class LoadedGan:
    """A generator in evaluation mode, and the discriminator that a further training starts from."""

    config: dict[str, Any]
    architecture: Architecture
    generator: Generator
    discriminator: Discriminator
    device: torch.device

    @property
    def trained_steps(self) -> int:
        """Steps of all trainings up to here; 0 where the configuration does not say."""
        steps = self.config.get("trained_steps")
        return steps if type(steps) is int else 0

    @property
    def memory_bytes(self) -> int:
        """Memory that the weights of both take."""
        networks = (self.generator, self.discriminator)
        return sum(weight.nbytes for network in networks for weight in network.parameters())


def save(
    folder: Path, config: dict[str, Any], generator: Generator, discriminator: Discriminator
) -> None:
    """Write both networks in float32, and their configuration."""
    tensors = {
        **named_weights("generator", generator),
        **named_weights("discriminator", discriminator),
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")


def load(folder: Path, device: torch.device) -> LoadedGan:
    """Read what `save` wrote.

    Raises Permanent for another family's folder, and for files that are absent, damaged or do
    not fit.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise Permanent(f"this folder holds no readable model: {error}") from error
    if not isinstance(config, dict) or config.get("family") != FAMILY:
        found = config.get("family") if isinstance(config, dict) else config
        raise Permanent(f"config.json: the family is {found!r}, not {FAMILY!r}")

    architecture = Architecture.from_config(config)
    generator, discriminator = Generator(architecture), Discriminator(architecture)
    fill("generator", generator, tensors)
    fill("discriminator", discriminator, tensors)
    return ready(config, architecture, generator, discriminator, device)


def ready(
    config: dict[str, Any],
    architecture: Architecture,
    generator: Generator,
    discriminator: Discriminator,
    device: torch.device,
) -> LoadedGan:
    """Both networks on the device, in evaluation mode, as they will be served."""
    for network in (generator, discriminator):
        network.to(device).eval().requires_grad_(False)
    return LoadedGan(config, architecture, generator, discriminator, device)
