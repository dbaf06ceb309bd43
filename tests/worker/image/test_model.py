"""What is saved serves as it was; what is no model of this family is refused, with the reason."""

import json
from pathlib import Path

import numpy as np
import pytest

from shared.errors import Permanent
from shared.families.conditional_gan import ImageParams, ImageTraining
from tests.worker.image.conftest import CPU, SMALL
from tests.worker.image.test_family import generate, pixels
from worker.dataset import ImageDataset
from worker.image.conditional_gan.family import ConditionalGan


@pytest.fixture
def folder(digits: ImageDataset, tmp_path: Path) -> Path:
    ConditionalGan().trainee(digits, None, ImageTraining(**SMALL), CPU).save(tmp_path / "model")
    return tmp_path / "model"


def change(folder: Path, **values: object) -> None:
    file = folder / "config.json"
    config = {**json.loads(file.read_text(encoding="utf-8")), **values}
    file.write_text(json.dumps(config), encoding="utf-8")


def test_a_saved_model_makes_the_pictures_of_the_training(digits: ImageDataset, tmp_path: Path):
    trainee = ConditionalGan().trainee(digits, None, ImageTraining(**SMALL), CPU)
    trainee.advance(0, 1)
    trainee.save(tmp_path)

    served = ConditionalGan().load(tmp_path, CPU)

    asked = [ImageParams(seed=3, n=4)]
    made, expected = generate(served, asked), generate(trainee.loaded(), asked)
    assert [pixels(part).tobytes() for part in made] == [
        pixels(part).tobytes() for part in expected
    ]
    assert served.config["trained_steps"] == 1
    assert served.config["labels"] == list("0123456789")
    assert served.memory_bytes > 10_000
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


def test_another_family_is_refused(folder: Path):
    change(folder, family="causal_lm")

    with pytest.raises(Permanent, match="the family is 'causal_lm', not 'conditional_gan'"):
        ConditionalGan().load(folder, CPU)


def test_weights_that_do_not_fit_are_refused(folder: Path):
    change(folder, width=32)

    with pytest.raises(Permanent, match="weights of the generator do not fit"):
        ConditionalGan().load(folder, CPU)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_file_is_refused(folder: Path, name: str):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])

    with pytest.raises(Permanent, match="no readable model"):
        ConditionalGan().load(folder, CPU)


def test_an_empty_folder_is_refused(tmp_path: Path):
    with pytest.raises(Permanent, match="no readable model"):
        ConditionalGan().load(tmp_path, CPU)


def test_pixels_are_bytes_of_the_data_sets_shape(folder: Path):
    (part,) = generate(ConditionalGan().load(folder, CPU), [ImageParams(seed=1)])

    assert pixels(part).shape == (16, 16, 1)
    assert pixels(part).dtype == np.uint8
