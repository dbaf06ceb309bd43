"""A conditional GAN in training: one step, its schedule, its average, and all that a resume needs.

B batch, C channels, H height, W width, Z latent length, L number of labels.
"""

import copy
import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared.errors import Permanent
from shared.families.conditional_gan import ImageTraining
from worker.dataset import ImageDataset
from worker.family import Snapshot
from worker.image.conditional_gan import model
from worker.image.conditional_gan.augment import augmentation
from worker.image.conditional_gan.data import Batches
from worker.image.conditional_gan.loss import PENALTY_EVERY
from worker.image.conditional_gan.network import Architecture, Discriminator, Generator
from worker.image.conditional_gan.step import Step
from worker.image.conditional_gan.weights import fill, fill_moments, named_moments, named_weights
from worker.replay import Replayed

LAST_RATE = 0.1
"""The cosine ends at this part of the peak learning rate."""

AVERAGE = 0.995
"""Decay of the moving average of the generator's weights, which is what is served."""


class GanTrainee:
    """Fulfils `worker.family.Trainee`."""

    trained_tokens = None

    def __init__(
        self,
        dataset: ImageDataset,
        base: model.LoadedGan | None,
        params: ImageTraining,
        device: torch.device,
    ):
        self.params, self.device, self.dataset_hash = params, device, dataset.hash
        self.batches = Batches(dataset, params.batch_size, params.seed)
        self.epoch_steps = self.batches.per_epoch
        self.architecture = _architecture(dataset, base, params)
        # Weights and the training's chance come from the seed alone, whatever ran before.
        self.chance = torch.Generator().manual_seed(params.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(params.seed)
            self.generator = Generator(self.architecture)
            self.discriminator = Discriminator(self.architecture)
        self.earlier_steps = 0
        if base is not None:
            self.earlier_steps = base.trained_steps
            _inherit(self.generator, base.generator, self.architecture, base.architecture)
            _inherit(self.discriminator, base.discriminator, self.architecture, base.architecture)
        for network in (self.generator, self.discriminator):
            network.to(device)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)

        self.augment = augmentation(params.augment, dataset.channels, dataset.size)
        networks, rate = (self.generator, self.discriminator), params.learning_rate
        self.step = Step(*networks, rate, params.gamma, self.augment)
        self.replayed = self._replayed()
        self.steps = 0

    def _replayed(self) -> dict[bool, Replayed[Tensor]]:
        """The step, with and without the penalties."""
        return {
            penalise: Replayed(partial(self.step, penalise=penalise), self.device)
            for penalise in (True, False)
        }

    def advance(self, fraction: float, learning_rate_scale: float) -> dict[str, float]:
        """One step of the discriminator, then one of the generator, on the same pictures."""
        self._set_learning_rate(fraction, learning_rate_scale)
        pixels_bhwc, label = self.batches.next()
        latent = torch.randn(len(label), self.architecture.latent, generator=self.chance)
        drawn = [self.augment.draw(len(label), self.chance) for _ in ("real", "fake")]
        penalise = self.steps % PENALTY_EVERY == 0

        losses = self.replayed[penalise](pixels_bhwc, label, latent, *drawn)
        self.steps += 1
        self._update_average()
        named = dict(zip(("generator", "discriminator", "penalty"), losses.tolist(), strict=True))
        if not penalise:
            del named["penalty"]
        return named

    def snapshot(self) -> Snapshot:
        tensors = {
            **named_weights("generator", self.generator),
            **named_weights("discriminator", self.discriminator),
            **named_weights("average", self.average),
            **named_moments("generator_adam", self.step.generator_adam),
            **named_moments("discriminator_adam", self.step.discriminator_adam),
            "chance": self.chance.get_state(),
        }
        facts = {
            "steps": self.steps,
            "earlier_steps": self.earlier_steps,
            "epoch": self.batches.epoch,
            "position": self.batches.position,
        }
        return Snapshot(tensors, facts)

    def restore(self, snapshot: Snapshot) -> None:
        tensors, facts = dict(snapshot.tensors), snapshot.facts
        fill("generator", self.generator, tensors)
        fill("discriminator", self.discriminator, tensors)
        fill("average", self.average, tensors)
        fill_moments("generator_adam", self.step.generator_adam, tensors)
        fill_moments("discriminator_adam", self.step.discriminator_adam, tensors)
        # The optimisers have other tensors now.
        self.replayed = self._replayed()
        self.chance.set_state(tensors["chance"].cpu())
        self.steps, self.earlier_steps = facts["steps"], facts["earlier_steps"]
        self.batches.go_to(facts["epoch"], facts["position"])

    def loaded(self) -> model.LoadedGan:
        # Copies: training goes on while these are measured.
        average, discriminator = copy.deepcopy(self.average), copy.deepcopy(self.discriminator)
        return model.ready(self._config(), self.architecture, average, discriminator, self.device)

    def save(self, folder: Path) -> None:
        model.save(folder, self._config(), self.average, self.discriminator)

    def _config(self) -> dict[str, Any]:
        return {
            "family": model.FAMILY,
            **self.architecture.as_config(),
            "trained_steps": self.earlier_steps + self.steps,
            "dataset_hash": self.dataset_hash,
            "training": self.params.model_dump(mode="json"),
        }

    def _set_learning_rate(self, fraction: float, scale: float) -> None:
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))
        rate = self.params.learning_rate * scale * (LAST_RATE + (1 - LAST_RATE) * cosine)
        self.step.set_learning_rate(rate)

    def _update_average(self) -> None:
        # At first a short memory, or the random start would stay in the average for long.
        decay = min(AVERAGE, (1 + self.steps) / (10 + self.steps))
        pairs = zip(self.average.parameters(), self.generator.parameters(), strict=True)
        with torch.no_grad():
            for averaged, current in pairs:
                averaged.lerp_(current, 1 - decay)


def _architecture(
    dataset: ImageDataset, base: model.LoadedGan | None, params: ImageTraining
) -> Architecture:
    """The data set decides what is made; the base, if there is one, how wide the networks are."""
    width, latent = params.width, params.latent
    if base is not None:
        width, latent = base.architecture.width, base.architecture.latent
        made = (base.architecture.size, base.architecture.channels)
        if made != (dataset.size, dataset.channels):
            raise Permanent(
                f"the base makes pictures of {made[0]} pixels and {made[1]} channels, the data set "
                f"has {dataset.size} and {dataset.channels}: prepare it like the base's"
            )
    found = Architecture(dataset.size, dataset.channels, width, latent, dataset.labels)
    found.check()
    return found


def _inherit(
    network: nn.Module, base: nn.Module, architecture: Architecture, older: Architecture
) -> None:
    """Copy the base's weights; the embedding of a label only where the base knows its name."""
    weights = network.state_dict()
    for name, weight in base.state_dict().items():
        if name in weights and weights[name].shape == weight.shape and name != "label.weight":
            weights[name].copy_(weight)
    if "label.weight" in weights and older.labels:
        known = [label for label in architecture.labels if label in older.labels]
        into = [architecture.labels.index(label) for label in known]
        out_of = [older.labels.index(label) for label in known]
        weights["label.weight"][:, into] = base.state_dict()["label.weight"][:, out_of].cpu()
