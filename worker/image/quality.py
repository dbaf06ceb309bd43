"""How good a model of pictures is, measured against held-out pictures of its data set.

Every number stands beside its floor: what real pictures of the train split reach in the same place.
While a training goes on, the validation split is the measure, afterwards the test split, so that
the choice of the best model and the final figure rest on different pictures.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from shared.errors import Permanent
from shared.families.conditional_gan import ImageParams
from worker.dataset import SPLITS, ImageDataset, Split
from worker.family import (
    UNWATCHED,
    Image,
    Implementation,
    Loaded,
    Part,
    Refusal,
    Request,
    Run,
    check,
)
from worker.image import media
from worker.image.extractor import Extractor, extractor_of
from worker.image.metrics import (
    NEIGHBOURS,
    frechet_distance,
    kernel_distance,
    median_nearest,
    neighbourhoods,
)
from worker.quality import Metric

QUICK, FULL = 1000, 2000
"""Pictures measured while training goes on, and at its end."""

FEW = 500
"""A held-out split with fewer pictures is measured together with the other one."""

MOST_TRAINING = 20_000
"""Training pictures that a nearest one is looked for among."""

SHEET_ROWS, SHEET_COLUMNS = 10, 10


@dataclass(frozen=True)
class Seen:
    """Pictures as the extractor sees them. Shapes (N, F), (N, K) and (N,); label -1: none."""

    features_nf: Tensor
    logits_nk: Tensor
    labels_n: Tensor

    def accuracy(self) -> float:
        """Share of the labelled pictures that the classifier reads as their label."""
        known = self.labels_n >= 0
        right = self.logits_nk[known].argmax(1) == self.labels_n[known]
        return float(right.float().mean())


class ImageQuality:
    """Fulfils `worker.quality.Quality`."""

    objective = "fd"

    def __init__(
        self,
        family: Implementation,
        dataset: ImageDataset,
        extractor: Extractor,
        run: Run = UNWATCHED,
    ):
        self.family, self.dataset, self.extractor, self.run = family, dataset, extractor, run
        self.name = extractor.name
        for quick in (True, False):
            self._held_out(quick)  # raises now, not when the budget is spent
        self.real: dict[bool, tuple[Seen, Seen]] = {}
        """Held-out pictures and as many of the train split, by `quick`."""

    def measure(self, loaded: Loaded, *, quick: bool) -> dict[str, Metric]:
        """Raises Permanent when the model's pictures have another shape than the data set's."""
        self._check(loaded)
        held_out, train = self._real(quick)
        made = self._made(loaded, held_out.labels_n)
        found = self._distances(held_out, train, made, quick)
        if self.extractor.labelled and self._knows_labels(loaded) and (made.labels_n >= 0).any():
            found["label_accuracy"] = self._metric(
                made.accuracy(), "higher", made, held_out.accuracy()
            )
        if not quick:
            among = self._training_features
            found["nearest_training_distance"] = self._metric(
                median_nearest(made.features_nf, among),
                "higher",
                made,
                median_nearest(held_out.features_nf, among),
            )
        return found

    def sheet(self, loaded: Loaded) -> Image:
        """A row of pictures per label (the first ten), each column from one seed."""
        seeds = range(SHEET_COLUMNS)
        labels = list(loaded.config["labels"])[:SHEET_ROWS]
        if labels:
            rows = [(label, [ImageParams(seed=k, label=label) for k in seeds]) for label in labels]
        else:
            first = range(0, SHEET_ROWS * SHEET_COLUMNS, SHEET_COLUMNS)
            rows = [("", [ImageParams(seed=start + k) for k in seeds]) for start in first]
        return media.sheet([(label, self._generate(loaded, asked)) for label, asked in rows])

    def _distances(self, real: Seen, train: Seen, made: Seen, quick: bool) -> dict[str, Metric]:
        """What is measured between two clouds of features; the train split's cloud is the floor."""
        here, floor = made.features_nf, train.features_nf
        near = neighbourhoods(real.features_nf, here)
        floor_near = neighbourhoods(real.features_nf, floor)
        fd, floor_fd = (frechet_distance(real.features_nf, other) for other in (here, floor))
        found = {
            "fd": self._metric(fd, "lower", made, floor_fd),
            "coverage": self._metric(near.coverage, "higher", made, floor_near.coverage),
        }
        if quick:
            return found
        kd, floor_kd = (kernel_distance(real.features_nf, other) for other in (here, floor))
        found["kd"] = self._metric(kd, "lower", made, floor_kd)
        for name in ("precision", "recall", "density"):
            value, floor_value = getattr(near, name), getattr(floor_near, name)
            found[name] = self._metric(value, "higher", made, floor_value)
        return found

    def _metric(
        self, value: float, better: Literal["lower", "higher"], made: Seen, floor: float
    ) -> Metric:
        return Metric(value, better, len(made.labels_n), floor, self.name)

    def _real(self, quick: bool) -> tuple[Seen, Seen]:
        """Held-out pictures, and equally many of the train split: the same N for both sides."""
        if quick not in self.real:
            held_out = self._see(self._held_out(quick), QUICK if quick else FULL)
            self.real[quick] = held_out, self._see(["train"], len(held_out.labels_n))
        return self.real[quick]

    def _held_out(self, quick: bool) -> list[Split]:
        wanted: Split = "validation" if quick else "test"
        counts = {split: len(self.dataset.label_indices(split)) for split in SPLITS}
        if counts[wanted] >= FEW:
            return [wanted]
        if counts["validation"] + counts["test"] > NEIGHBOURS:
            return ["validation", "test"]
        raise Permanent("the data set holds back too few pictures to measure anything against")

    def _see(self, splits: list[Split], most: int) -> Seen:
        """Look at up to `most` pictures of these splits, the same ones every time."""
        labels_n = np.concatenate([self.dataset.label_indices(split) for split in splits])
        images = [self.dataset.images(split) for split in splits]
        order = np.random.default_rng(0).permutation(len(labels_n))[:most]
        chosen = np.sort(order)
        # One split needs no copy of all its pictures: the train split may be larger than memory.
        pixels_nhwc = images[0] if len(images) == 1 else np.concatenate(images)
        return Seen(*self.extractor.look(pixels_nhwc[chosen]), torch.from_numpy(labels_n[chosen]))

    def _made(self, loaded: Loaded, labels_n: Tensor) -> Seen:
        """Generated pictures with the labels of real ones, one seed each."""
        if not self._knows_labels(loaded):
            labels_n = torch.full_like(labels_n, -1)
        names = [self.dataset.labels[index] if index >= 0 else None for index in labels_n.tolist()]
        requests = [ImageParams(seed=seed, label=name) for seed, name in enumerate(names)]
        pixels_nhwc = np.stack([image.pixels_hwc for image in self._generate(loaded, requests)])
        return Seen(*self.extractor.look(pixels_nhwc), labels_n)

    def _generate(self, loaded: Loaded, requests: list[ImageParams]) -> list[Image]:
        """One picture per request, in their order."""
        images: dict[int, Image] = {}
        asked = [Request(params) for params in requests]
        for part in self.family.generate(loaded, asked, self.run):
            if isinstance(part, Refusal):
                raise part.error
            assert isinstance(part, Part)
            images[part.request] = cast(Image, part.media)
        check(self.run)
        return [images[place] for place in range(len(requests))]

    @cached_property
    def _training_features(self) -> Tensor:
        return self._see(["train"], MOST_TRAINING).features_nf

    def _knows_labels(self, loaded: Loaded) -> bool:
        return set(self.dataset.labels) <= set(loaded.config["labels"])

    def _check(self, loaded: Loaded) -> None:
        made = (loaded.config["size"], loaded.config["channels"])
        if made != (self.dataset.size, self.dataset.channels):
            raise Permanent(
                f"the model's pictures have {made[0]} pixels and {made[1]} channels, the data set "
                f"{self.dataset.size} and {self.dataset.channels}"
            )


def quality_of(
    family: Implementation,
    dataset: ImageDataset,
    cache: Path,
    device: torch.device,
    run: Run = UNWATCHED,
) -> ImageQuality:
    """Fulfils `worker.quality.Judge`; trains the data set's extractor unless `cache` has it."""
    return ImageQuality(family, dataset, extractor_of(dataset, cache, device, run), run)
