"""Pictures survive PNG; grids and sheets show every picture where it belongs."""

import numpy as np
import pytest

from shared.errors import Permanent
from worker.family import Image
from worker.image import media


def picture(level: int, channels: int = 1, size: int = 16) -> Image:
    return Image(np.full((size, size, channels), level, np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_survives_png(channels: int):
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, channels), dtype=np.uint8)

    file = media.encode(Image(pixels))

    assert file.startswith(b"\x89PNG")
    assert np.array_equal(media.decode(file).pixels_hwc, pixels)


@pytest.mark.parametrize("file", [b"", b"GIF89a", media.encode(picture(9))[:40]])
def test_what_is_no_png_is_refused(file: bytes):
    with pytest.raises(Permanent, match="not a readable PNG"):
        media.decode(file)


def test_a_grid_fills_row_by_row_with_margins():
    grid = media.grid([picture(level) for level in (10, 20, 30)], columns=2).pixels_hwc

    assert grid.shape == (2 + 18 + 18, 2 + 18 + 18, 1)
    assert [grid[5, 5, 0], grid[5, 25, 0], grid[25, 5, 0]] == [10, 20, 30]
    assert (grid[:2] == media.PAPER).all()
    assert grid[25, 25, 0] == media.PAPER


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_writes_each_label_at_the_left_of_its_row(channels: int):
    rows = [("cat", [picture(10, channels)] * 3), ("dog", [picture(20, channels)] * 3)]

    labelled = media.sheet(rows).pixels_hwc
    plain = media.sheet([("", images) for _, images in rows]).pixels_hwc

    left = labelled.shape[1] - plain.shape[1]
    assert np.array_equal(labelled[:, left:], plain)
    upper, lower = np.array_split(labelled[:, :left], 2)
    assert upper.min() < media.PAPER
    assert lower.min() < media.PAPER


def test_a_sheet_draws_small_pictures_larger():
    assert media.sheet([("", [picture(10)])]).pixels_hwc.shape == (68, 68, 1)
