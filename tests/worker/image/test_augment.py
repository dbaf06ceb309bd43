"""Augmentation changes what it says, the same for the same chance, and lets gradients through."""

import pytest
import torch

from worker.image.conditional_gan.augment import Augment, augmentation, mirror, shift


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def seen_by(augment: Augment, image: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return augment.apply(image, augment.draw(len(image), chance(seed)))


def test_a_shift_moves_each_picture_by_a_few_pixels():
    image = torch.full((64, 1, 9, 9), -1.0)
    image[:, :, 4, 4] = 1

    moved = shift(image, torch.randint(-2, 3, (2, 64), generator=chance()))

    _, _, rows, columns = torch.where(moved == 1)
    assert len(rows) == 64
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}


def test_digits_are_never_mirrored():
    image = torch.zeros(64, 1, 28, 28)
    image[..., 13, 10], image[..., 13, 17] = 1, 2

    seen = seen_by(augmentation("auto", channels=1, size=28), image)

    left, right = (torch.where(seen == level)[3] for level in (1, 2))
    assert (left < right).all()


def test_mirroring_turns_about_half_of_the_pictures():
    image = torch.arange(4.0).expand(1000, 1, 4, 4)

    mirrored = (mirror(image, torch.rand(1000, generator=chance()))[:, 0, 0, 0] == 3).float().mean()

    assert 0.4 < mirrored < 0.6


@pytest.mark.parametrize("name", ["none", "shift", "colour"])
def test_the_same_chance_gives_the_same_change_and_gradients_pass(name):
    image = torch.randn(8, 3, 32, 32, requires_grad=True)
    augment = augmentation(name, channels=3, size=32)

    once, again, other = (seen_by(augment, image, seed) for seed in (0, 0, 1))
    once.sum().backward()

    assert once.shape == image.shape
    assert torch.equal(once, again)
    assert torch.equal(once, other) == (name == "none")
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
