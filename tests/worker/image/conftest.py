"""Small image data sets, a model after a few steps, and a host that waits."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from sklearn.datasets import load_digits

from shared.families.conditional_gan import ImageTraining
from worker.dataset import ImageDataset, open_dataset
from worker.image.conditional_gan.family import ConditionalGan
from worker.image.conditional_gan.model import LoadedGan

CPU = torch.device("cpu")
SMALL = {"width": 16, "latent": 16, "batch_size": 8}


def write_dataset(
    folder: Path, images_nhwc: np.ndarray, labels_n: np.ndarray, labels: Sequence[str]
) -> ImageDataset:
    """Shuffle, hold back a tenth each for validation and test, and open the result."""
    folder.mkdir(parents=True)
    order = np.random.default_rng(0).permutation(len(images_nhwc))
    tenth = len(order) // 10
    parts = {"validation": order[:tenth], "test": order[tenth : 2 * tenth]}
    for split, chosen in {**parts, "train": order[2 * tenth :]}.items():
        np.save(folder / f"{split}.images.npy", images_nhwc[chosen])
        np.save(folder / f"{split}.labels.npy", labels_n[chosen].astype(np.int64))
    _, size, _, channels = images_nhwc.shape
    facts = {"modality": "image", "hash": folder.name, "labels": list(labels)}
    manifest = {**facts, "size": size, "channels": channels}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    dataset = open_dataset(folder)
    assert isinstance(dataset, ImageDataset)
    return dataset


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    """scikit-learn's 1,797 digits of 8 pixels, enlarged to 16."""
    found = load_digits()
    small = (found.images * 255 / 16).astype(np.uint8)
    large = [np.array(Picture.fromarray(image).resize((16, 16))) for image in small]
    folder = tmp_path_factory.mktemp("data") / "digits"
    return write_dataset(folder, np.stack(large)[..., None], found.target, list("0123456789"))


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    """Coloured squares of 32 pixels without labels."""
    chance = np.random.default_rng(1)
    plain = chance.integers(0, 256, (120, 4, 4, 3), dtype=np.uint8)
    images = plain.repeat(8, axis=1).repeat(8, axis=2)
    folder = tmp_path_factory.mktemp("data") / "colours"
    return write_dataset(folder, images, np.full(120, -1), [])


@pytest.fixture(scope="session")
def gan(digits: ImageDataset) -> LoadedGan:
    """A model of digits after four steps: no beauty, but every label and seed shows."""
    trainee = ConditionalGan().trainee(digits, None, ImageTraining(**SMALL), CPU)
    for step in range(4):
        trainee.advance(step / 4, 1.0)
    return trainee.loaded()


class Host:
    """A `worker.family.Run` that asks to stop after so many questions."""

    def __init__(self, patience: int = 1_000_000):
        self.patience = patience
        self.told: list[float] = []

    def should_stop(self) -> bool:
        self.patience -= 1
        return self.patience < 0

    def progress(self, fraction: float) -> None:
        self.told.append(fraction)
