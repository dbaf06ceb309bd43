"""The same seed makes the same picture in any company, and every request gets what it asked for."""

import random

import numpy as np
import pytest
import torch

from shared.families.conditional_gan import ImageParams
from tests.worker.image.conftest import Host
from worker.family import Image, Part, Request, output_seed
from worker.image.conditional_gan.family import ConditionalGan
from worker.image.conditional_gan.model import LoadedGan
from worker.image.media import encode, grid

ASKED = [
    ImageParams(seed=1),
    ImageParams(seed=2, label="3"),
    ImageParams(seed=2, label={"3": 1, "8": 3}, truncation=0.5),
    ImageParams(seed=4, n=5),
    ImageParams(seed=5, label="0", n=16),
    ImageParams(seed=6, grid=3),
    *(ImageParams(seed=seed) for seed in range(100, 112)),
]


def generate(gan: LoadedGan, asked: list[ImageParams], host: Host | None = None) -> list[Part]:
    requests = [Request(params) for params in asked]
    return list(ConditionalGan().generate(gan, requests, host or Host()))


def pixels(part: Part) -> np.ndarray:
    assert isinstance(part.media, Image)
    return part.media.pixels_hwc


def files(gan: LoadedGan, asked: list[ImageParams]) -> dict[tuple[str, int], bytes]:
    """PNG bytes by parameters and index."""
    found = {}
    for part in generate(gan, asked):
        assert isinstance(part.media, Image)
        found[asked[part.request].model_dump_json(), part.index] = encode(part.media)
    return found


@pytest.mark.parametrize("size", [1, 3, 16])
def test_the_same_seed_gives_the_same_bytes_whatever_shares_the_batch(gan: LoadedGan, size: int):
    together = files(gan, ASKED)

    shuffled = random.Random(size).sample(ASKED, len(ASKED))
    apart = {}
    for start in range(0, len(shuffled), size):
        apart.update(files(gan, shuffled[start : start + size]))

    assert len(together) == sum(params.n for params in ASKED)
    assert apart == together


def test_the_recorded_seed_makes_an_output_alone(gan: LoadedGan):
    parts = generate(gan, [ImageParams(seed=7, n=4)])

    for part in parts:
        (alone,) = generate(gan, [ImageParams(seed=part.seed)])
        assert np.array_equal(pixels(alone), pixels(part))
    assert [part.seed for part in parts] == [output_seed(7, index) for index in range(4)]
    assert parts[0].seed == 7
    assert len({pixels(part).tobytes() for part in parts}) == 4


def test_a_record_says_the_label_and_the_truncation(gan: LoadedGan):
    asked = [
        ImageParams(seed=1, label="3"),
        ImageParams(seed=1, label={"3": 2, "8": 2}, truncation=0.7),
        ImageParams(seed=1),
    ]

    one, mix, drawn = (part.facts for part in generate(gan, asked))

    assert one == {"label": "3", "truncation": 0.8}
    assert mix == {"label": {"3": 2, "8": 2}, "truncation": 0.7}
    assert drawn["label"] in gan.config["labels"]


def test_a_drawn_label_makes_what_asking_for_it_makes(gan: LoadedGan):
    (drawn,) = generate(gan, [ImageParams(seed=9)])
    (asked,) = generate(gan, [ImageParams(seed=9, label=drawn.facts["label"])])

    assert np.array_equal(pixels(drawn), pixels(asked))


def test_absent_labels_are_drawn_from_all(gan: LoadedGan):
    parts = generate(gan, [ImageParams(seed=seed) for seed in range(100)])

    assert {part.facts["label"] for part in parts} == set(gan.config["labels"])


def test_a_grid_has_a_row_per_label_and_a_seed_per_column(gan: LoadedGan):
    (whole,) = generate(gan, [ImageParams(seed=6, grid=3)])

    labels = gan.config["labels"]
    cells = [
        ImageParams(seed=output_seed(6, column), label=label)
        for label in labels
        for column in range(3)
    ]
    pictures = [Image(pixels(part)) for part in generate(gan, cells)]
    assert np.array_equal(pixels(whole), grid(pictures, 3).pixels_hwc)
    assert whole.facts["rows"] == labels


def test_stopping_ends_between_passes(gan: LoadedGan):
    host = Host(patience=2)

    parts = generate(gan, [ImageParams(seed=1, n=16)] * 5, host)

    assert len(parts) == 32
    assert host.told == [0.2, 0.4]


def test_torch_is_not_disturbed(gan: LoadedGan):
    before = torch.get_rng_state()

    generate(gan, [ImageParams(seed=1)])

    assert torch.equal(torch.get_rng_state(), before)
