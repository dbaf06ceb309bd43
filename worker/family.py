"""The worker's half of a family: what it can do, and the values that pass between it and its host.

A family knows nothing of the database, of storage or of Celery: everything here runs in a test, in
a worker and on a bare GPU machine alike. Shapes: N examples, H height, W width, C channels.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from shared.errors import Permanent, Stopped
from shared.family import ItemParams, TrainingParams
from worker.dataset import Dataset

JsonDict = dict[str, Any]


@dataclass(frozen=True)
class Image:
    """A picture: uint8 (H, W, C) with C of 1 (grey) or 3 (RGB)."""

    pixels_hwc: np.ndarray


@dataclass(frozen=True)
class Text:
    """A continuation, without its prompt."""

    text: str


@dataclass(frozen=True)
class Vectors:
    """Vectors of texts: float32 (N, D), each one long."""

    values_nd: np.ndarray


Media = Image | Text | Vectors


@dataclass(frozen=True)
class Request:
    """One item's parameters, complete: `params.seed` is set."""

    params: ItemParams
    watched: bool = False
    """Whether somebody watches its outputs grow; a family that can then yields Pieces of them."""


@dataclass(frozen=True)
class Part:
    """One finished output."""

    request: int
    """Index into the requests."""
    index: int
    """Which of the request's outputs, from 0."""
    media: Media
    seed: int
    """Seed of exactly this output."""
    facts: JsonDict = field(default_factory=dict)
    """What the output's record should say beside it: label, token counts, finish reason, …"""


@dataclass(frozen=True)
class Piece:
    """More of an output that still grows; the whole of it follows as a Part."""

    request: int
    """Index into the requests."""
    index: int
    """Which of the request's outputs, from 0."""
    start: int
    """Characters of the output before it."""
    text: str
    last: bool = False
    """Whether the output ends with it."""
    first_token: int = 0
    """Tokens of the output before those of `logprobs`."""
    logprobs: JsonDict | None = None
    """Of the tokens that it completes, if they were asked for: lists as in the output's facts."""


@dataclass(frozen=True)
class Refusal:
    """One request that cannot be generated as it is; its neighbours are not touched by it."""

    request: int
    """Index into the requests."""
    error: Permanent


Yielded = Part | Piece | Refusal
"""What a family yields while it generates."""


def output_seed(seed: int, index: int) -> int:
    """The 32-bit seed of an item's output `index`; output 0 has the item's own seed.

    Asked for alone (n = 1), this seed makes the same output again. A hash, because `seed + index`
    would be the seed of a neighbouring item, and show its outputs twice.
    """
    if index == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}:{index}".encode()).digest()[:4], "big")


class Run(Protocol):
    """All that a family knows of its host while it generates."""

    def should_stop(self) -> bool:
        """True once the work should end early; the family then returns."""

    def progress(self, fraction: float) -> None:
        """Work done so far, 0 to 1; also tells the host that the work moves."""


class Unwatched:
    """A run that nobody stops or follows."""

    def should_stop(self) -> bool:
        return False

    def progress(self, fraction: float) -> None:
        """Nobody looks."""


UNWATCHED = Unwatched()


def check(run: Run) -> None:
    """Raises Stopped once the work should end."""
    if run.should_stop():
        raise Stopped


class Loaded(Protocol):
    """A model ready to run."""

    config: JsonDict
    """What `config.json` beside the weights says: architecture, labels, context length."""

    @property
    def memory_bytes(self) -> int:
        """Memory its weights take."""


@dataclass(frozen=True)
class Snapshot:
    """Everything a training needs to go on from a step: tensors by name, and JSON."""

    tensors: Mapping[str, torch.Tensor]
    facts: JsonDict


class Trainee(Protocol):
    """A model in training.

    The harness (worker/trainer.py) owns the loop, budgets and checkpoints.
    """

    epoch_steps: float
    """Steps of one pass over the training split."""
    trained_tokens: int | None
    """Tokens that the loss has seen, over all steps; None where there are none to count."""

    def advance(self, fraction: float, learning_rate_scale: float) -> dict[str, float]:
        """Make one optimisation step and return its losses by name (plain floats).

        `fraction` (0 to 1) is the part of the budget that is spent: schedules follow it.
        `learning_rate_scale` multiplies the schedule (1, or less after a divergence).
        """

    def snapshot(self) -> Snapshot:
        """The whole training state: weights, EMA, optimisers, generators, data order."""

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot as if the training had never ended."""

    def loaded(self) -> Loaded:
        """The model as it would be served now: the EMA's weights, in evaluation mode."""

    def save(self, folder: Path) -> None:
        """Write what `Family.load` reads: `config.json`, `model.safetensors`, …"""


class Implementation(Protocol):
    """A family's code: one class in `worker/<modality>/<family>/family.py`."""

    def load(self, weights: Path, device: torch.device) -> Loaded:
        """Load a folder of safetensors and JSON. Raises Permanent when it cannot be this family."""

    def generate(self, loaded: Loaded, requests: Sequence[Request], run: Run) -> Iterator[Yielded]:
        """Yield every output of every request, in any order, each once; or one Refusal of a
        request.

        The same parameters and seed give the same content whatever else is among `requests`.
        """

    def trainee(
        self,
        dataset: Dataset,
        base: Loaded | None,
        params: TrainingParams,
        device: torch.device,
        run: Run = UNWATCHED,
    ) -> Trainee:
        """A model in training, from `base`'s weights or from nothing.

        What it does before its first step raises Stopped once `run` should stop.
        """


class Embeds(Protocol):
    """What a family can do that gives vectors."""

    def embed(self, loaded: Loaded, requests: Sequence[Request], run: Run) -> Iterator[Yielded]:
        """Yield the vectors of every request as one Part; or one Refusal of a request."""
