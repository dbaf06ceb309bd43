"""Real pictures reach the floor, noise does not, and the extractor is trained once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import Permanent, Stopped
from tests.worker.image.conftest import CPU
from worker.dataset import ImageDataset
from worker.family import Image, Loaded, Part, Request, Run, Unwatched
from worker.image.conditional_gan.family import ConditionalGan
from worker.image.conditional_gan.model import LoadedGan
from worker.image.quality import ImageQuality, quality_of

ALWAYS = {"fd", "coverage", "label_accuracy"}
IN_FULL = ALWAYS | {"kd", "precision", "recall", "density", "nearest_training_distance"}


@dataclass
class Memory:
    """A "model" that shows training pictures of the label asked for."""

    dataset: ImageDataset
    memory_bytes: int = 0
    config: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        data = self.dataset
        shape = {"size": data.size, "channels": data.channels}
        self.config = {**shape, "labels": list(data.labels)}


class Parrot(ConditionalGan):
    """Repeats what it has seen: real pictures, and all of them known."""

    def generate(self, loaded: Loaded, requests: Sequence[Request], run: Run) -> Iterator[Part]:
        assert isinstance(loaded, Memory)
        images, labels = loaded.dataset.images("train"), loaded.dataset.label_indices("train")
        for place, request in enumerate(requests):
            params: Any = request.params
            index = loaded.dataset.labels.index(params.label) if params.label else -1
            chosen = np.random.default_rng(params.seed).choice(np.flatnonzero(labels == index))
            yield Part(place, 0, Image(images[chosen]), params.seed)


class Told(Unwatched):
    """A run that was told to stop."""

    def should_stop(self) -> bool:
        return True


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("extractor")


@pytest.fixture(scope="module")
def quality(digits: ImageDataset, cache: Path) -> ImageQuality:
    return quality_of(Parrot(), digits, cache, CPU)


def test_the_extractor_reads_digits_and_says_its_name(quality: ImageQuality, digits: ImageDataset):
    accuracy = quality.measure(Memory(digits), quick=True)["label_accuracy"]

    assert accuracy.floor is not None
    assert accuracy.floor > 0.95
    assert accuracy.against == quality.name
    assert quality.name.startswith("fd-labels-16px@")


def test_the_extractor_is_trained_once(quality: ImageQuality, digits: ImageDataset, cache: Path):
    (file,) = cache.iterdir()
    written = file.stat().st_mtime_ns

    again = quality_of(Parrot(), digits, cache, CPU)

    assert again.name == quality.name
    assert file.stat().st_mtime_ns == written


def test_the_extractors_training_ends_when_it_is_asked_to(colours: ImageDataset, tmp_path: Path):
    with pytest.raises(Stopped):
        quality_of(Parrot(), colours, tmp_path, CPU, Told())

    assert list(tmp_path.iterdir()) == []


def test_a_measurement_ends_when_it_is_asked_to(
    quality: ImageQuality, digits: ImageDataset, cache: Path, gan: LoadedGan
):
    with pytest.raises(Stopped):
        quality_of(ConditionalGan(), digits, cache, CPU, Told()).measure(gan, quick=True)


def test_a_damaged_cache_is_made_anew(colours: ImageDataset, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("worker.image.extractor.STEPS", 2)
    first = quality_of(Parrot(), colours, tmp_path, CPU)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])

    assert quality_of(Parrot(), colours, tmp_path, CPU).name == first.name
    assert file.stat().st_size > 100


def test_real_pictures_reach_the_floor_and_a_copy_is_noticed(
    quality: ImageQuality, digits: ImageDataset
):
    found = quality.measure(Memory(digits), quick=False)

    assert set(found) == IN_FULL
    fd, coverage, nearest = (
        found[name] for name in ("fd", "coverage", "nearest_training_distance")
    )
    assert fd.floor is not None
    assert fd.value < 3 * fd.floor
    assert coverage.value > 0.9
    assert nearest.value < 0.01 < nearest.floor  # type: ignore[operator]


def test_an_untrained_model_is_far_from_the_floor(
    digits: ImageDataset, cache: Path, gan: LoadedGan
):
    found = quality_of(ConditionalGan(), digits, cache, CPU).measure(gan, quick=True)

    assert set(found) == ALWAYS
    assert found["fd"].value > 10 * found["fd"].floor  # type: ignore[operator]
    assert found["coverage"].value < 0.3
    assert found["fd"].n == 2 * 179


def test_measuring_twice_gives_the_same_numbers(digits: ImageDataset, cache: Path, gan: LoadedGan):
    quality = quality_of(ConditionalGan(), digits, cache, CPU)

    assert quality.measure(gan, quick=False) == quality.measure(gan, quick=False)


def test_without_labels_there_is_no_accuracy(colours: ImageDataset, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("worker.image.extractor.STEPS", 2)
    quality = quality_of(Parrot(), colours, tmp_path, CPU)

    found = quality.measure(Memory(colours), quick=True)

    assert set(found) == ALWAYS - {"label_accuracy"}
    assert quality.name.startswith("fd-rotations-32px@")
    assert found["fd"].n == 24


def test_a_model_of_other_pictures_is_refused(quality: ImageQuality, colours: ImageDataset):
    with pytest.raises(Permanent, match="32 pixels and 3 channels, the data set 16 and 1"):
        quality.measure(Memory(colours), quick=True)


def test_the_sheet_is_the_same_every_time(digits: ImageDataset, cache: Path, gan: LoadedGan):
    quality = quality_of(ConditionalGan(), digits, cache, CPU)

    one, other = quality.sheet(gan), quality.sheet(gan)

    assert np.array_equal(one.pixels_hwc, other.pixels_hwc)
    assert one.pixels_hwc.shape[0] == 10 * 66 + 2
