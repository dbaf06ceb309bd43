"""The family `conditional_gan`: loads, generates and trains GANs of square pictures.

B batch, C channels, H height, W width, Z latent length, L number of labels.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from shared.errors import Permanent
from shared.families.conditional_gan import FAMILY, ImageParams, ImageTraining
from shared.family import TrainingParams
from worker.dataset import Dataset, ImageDataset
from worker.family import UNWATCHED, Image, Loaded, Part, Request, Run
from worker.image.conditional_gan import model
from worker.image.conditional_gan.model import LoadedGan
from worker.image.conditional_gan.rows import Row, grid_shape, rows_of
from worker.image.conditional_gan.trainee import GanTrainee
from worker.image.media import grid


class ConditionalGan:
    """Fulfils `worker.family.Implementation`."""

    def load(self, weights: Path, device: torch.device) -> LoadedGan:
        return model.load(weights, device)

    def generate(self, loaded: Loaded, requests: Sequence[Request], run: Run) -> Iterator[Part]:
        """Pictures in the order of the requests, made in passes of `FAMILY.rows` rows."""
        gan = cast(LoadedGan, loaded)
        done: list[tuple[Row, Image]] = []
        for rows in _batches(rows_of(requests, gan.architecture), FAMILY.rows):
            if run.should_stop():
                return
            for row, image in zip(rows, _pass(gan, rows), strict=True):
                done.append((row, image))
                part = _part(done, cast(ImageParams, requests[row.request].params), gan)
                if part is not None:
                    done.clear()
                    yield part
            run.progress((rows[-1].request + 1) / len(requests))

    def trainee(
        self,
        dataset: Dataset,
        base: Loaded | None,
        params: TrainingParams,
        device: torch.device,
        run: Run = UNWATCHED,
    ) -> GanTrainee:
        """Raises Permanent for a data set of text, or of pictures unlike the base's."""
        if not isinstance(dataset, ImageDataset):
            raise Permanent("this family learns from pictures; the data set holds text")
        return GanTrainee(dataset, cast(LoadedGan, base), cast(ImageTraining, params), device)


def _part(done: list[tuple[Row, Image]], params: ImageParams, gan: LoadedGan) -> Part | None:
    """The output that the rows since the last one make: a picture, or a grid once complete."""
    row, image = done[0]
    if params.grid is None:
        return Part(row.request, row.index, image, row.seed, row.facts)
    rows, columns = grid_shape(params.grid, gan.architecture)
    if len(done) < rows * columns:
        return None
    facts = {"truncation": params.truncation, "rows": list(gan.architecture.labels)}
    return Part(row.request, 0, grid([image for _, image in done], columns), row.seed, facts)


def _pass(gan: LoadedGan, rows: Sequence[Row]) -> list[Image]:
    """One forward pass in float32, always of `FAMILY.rows` rows.

    The shape of a pass decides its last bits; what the other rows hold does not. With dummies in
    the rows to spare, a picture is the same alone and in company.
    """
    latent_bz = _filled([row.latent_z for row in rows]).to(gan.device)
    weights_bl = _filled([row.weights_l for row in rows]).to(gan.device)
    with torch.inference_mode():
        image_bchw = gan.generator(latent_bz, weights_bl)
        pixels_bchw = ((image_bchw + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    pixels_bhwc = pixels_bchw.permute(0, 2, 3, 1).cpu().numpy()
    return [Image(np.ascontiguousarray(pixels_hwc)) for pixels_hwc in pixels_bhwc[: len(rows)]]


def _filled(rows: Sequence[Tensor]) -> Tensor:
    """The rows with zeros below, up to `FAMILY.rows`."""
    batch = rows[0].new_zeros(FAMILY.rows, *rows[0].shape)
    batch[: len(rows)] = torch.stack(list(rows))
    return batch


def _batches(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while batch := list(islice(rows, size)):
        yield batch
