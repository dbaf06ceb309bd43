"""Requests taken apart into rows of a forward pass, each with chance of its own.

Z latent length, L number of labels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.families.conditional_gan import ImageParams
from worker.family import JsonDict, Request, output_seed
from worker.image.conditional_gan.network import Architecture

LEAST_NORMALS = 16
"""torch draws fewer than 16 normals by another algorithm than more."""


@dataclass(frozen=True)
class Row:
    """One picture to make: its latent (Z,), its label weights (L,), and where it belongs."""

    request: int
    index: int
    seed: int
    latent_z: Tensor
    weights_l: Tensor
    facts: JsonDict


def rows_of(requests: Sequence[Request], architecture: Architecture) -> Iterator[Row]:
    """Every picture that the requests need, request after request."""
    for place, request in enumerate(requests):
        params = request.params
        assert isinstance(params, ImageParams)
        assert params.seed is not None, "the host draws a seed at acceptance"
        for index, (label, chosen) in enumerate(_pictures(params, architecture)):
            seed = output_seed(params.seed, chosen)
            yield _row(place, index, seed, label, params.truncation, architecture)


def grid_shape(columns: int, architecture: Architecture) -> tuple[int, int]:
    """Rows and columns of a grid: a row per label, or a square where there are none."""
    return len(architecture.labels) or columns, columns


def _pictures(
    params: ImageParams, architecture: Architecture
) -> Iterator[tuple[str | dict[str, float] | None, int]]:
    """The label and the index of the seed of each picture of a request.

    A column of a labelled grid keeps its seed down all labels, which shows what a latent means
    beside the label.
    """
    if params.grid is None:
        yield from ((params.label, index) for index in range(params.n))
    elif architecture.labels:
        for label in architecture.labels:
            yield from ((label, column) for column in range(params.grid))
    else:
        yield from ((None, index) for index in range(params.grid**2))


def _row(
    request: int,
    index: int,
    seed: int,
    label: str | Mapping[str, float] | None,
    truncation: float,
    architecture: Architecture,
) -> Row:
    chance = torch.Generator().manual_seed(seed)
    normals = torch.randn(max(LEAST_NORMALS, architecture.latent), generator=chance)
    if label is None and architecture.labels:
        drawn = int(torch.randint(len(architecture.labels), (), generator=chance))
        label = architecture.labels[drawn]

    mix = {label: 1.0} if isinstance(label, str) else dict(label or {})
    total = sum(mix.values())
    weights_l = torch.zeros(len(architecture.labels))
    for name, weight in mix.items():
        weights_l[architecture.labels.index(name)] = weight / total
    facts: JsonDict = {"truncation": truncation}
    if label is not None:
        facts["label"] = label if isinstance(label, str) else dict(label)
    return Row(request, index, seed, normals[: architecture.latent] * truncation, weights_l, facts)
