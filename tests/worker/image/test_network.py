"""Every size and kind of picture has its networks, and the fast upsampling is the plain one."""

import pytest
import torch
import torch.nn.functional as F

from shared.errors import Permanent
from worker.image.conditional_gan.network import Architecture, Discriminator, Generator, Upscale


@pytest.mark.parametrize("size", [16, 28, 32, 64, 128])
@pytest.mark.parametrize(("channels", "labels"), [(1, ("a", "b")), (3, ())])
def test_every_size_is_made_and_judged(size: int, channels: int, labels: tuple[str, ...]):
    architecture = Architecture(size, channels, 16, 8, labels)
    weights = torch.ones(2, len(labels))

    images = Generator(architecture)(torch.randn(2, 8), weights)

    assert images.shape == (2, channels, size, size)
    assert images.abs().max() <= 1
    assert Discriminator(architecture)(images, weights).shape == (2,)


def test_upscaling_equals_nearest_neighbour_and_a_convolution():
    upscale = Upscale(5, 3)
    torch.nn.init.normal_(upscale.bias)
    hidden = torch.randn(2, 5, 7, 7)

    plain = F.conv2d(F.interpolate(hidden, scale_factor=2), upscale.weight, upscale.bias, padding=1)

    torch.testing.assert_close(upscale(hidden), plain)


def test_a_picture_without_a_label_is_judged_by_itself():
    discriminator = Discriminator(Architecture(16, 1, 16, 8, ("a", "b")))
    image = torch.randn(1, 1, 16, 16)
    a, b, none = torch.tensor([[[1.0, 0]], [[0, 1.0]], [[0, 0]]])

    half = discriminator(image, (a + b) / 2)

    torch.testing.assert_close(half, (discriminator(image, a) + discriminator(image, b)) / 2)
    assert not torch.equal(discriminator(image, none), half)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", 17),
        ("size", "28"),
        ("channels", 2),
        ("width", 10**9),
        ("width", True),
        ("latent", 0),
        ("labels", None),
        ("labels", [1, 2]),
        ("labels", ["a", "a"]),
        ("labels", [str(number) for number in range(20_000)]),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_by_name(name: str, value: object):
    config = {"size": 28, "channels": 1, "width": 32, "latent": 16, "labels": ["a"], name: value}

    with pytest.raises(Permanent, match=r"labels|config\.json|pixels|channels"):
        Architecture.from_config(config)
