"""Pictures as files, and several pictures as one: PNG bytes, plain grids and labelled sheets.

H height, W width, C channels of 1 (grey) or 3 (RGB); pixels are uint8.
"""

import io
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from shared.errors import Permanent
from worker.family import Image

MARGIN = 2
"""Pixels between the pictures of a grid, and around them."""

PAPER, INK = 255, 64
"""Greys of a grid's background and of the text on it."""

READABLE = 64
"""Pictures smaller than this are drawn larger on a sheet, by a whole factor."""


def encode(image: Image) -> bytes:
    """A PNG; the same pixels always give the same bytes (for one version of Pillow)."""
    pixels_hwc = image.pixels_hwc
    picture = PIL.Image.fromarray(pixels_hwc[..., 0] if pixels_hwc.shape[2] == 1 else pixels_hwc)
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


def decode(file: bytes) -> Image:
    """The picture in a PNG: grey stays grey, anything else becomes RGB.

    Raises Permanent when the bytes are no PNG.
    """
    try:
        with PIL.Image.open(io.BytesIO(file), formats=["PNG"]) as picture:
            pixels = np.array(picture if picture.mode == "L" else picture.convert("RGB"))
    except (OSError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise Permanent(f"not a readable PNG: {error}") from error
    return Image(pixels[..., None] if pixels.ndim == 2 else pixels)


def grid(images: Sequence[Image], columns: int) -> Image:
    """Pictures of one shape in rows of `columns`, with a small margin around each."""
    height, width, channels = images[0].pixels_hwc.shape
    rows = -(-len(images) // columns)
    shape = (rows * (height + MARGIN) + MARGIN, columns * (width + MARGIN) + MARGIN, channels)
    canvas_hwc = np.full(shape, PAPER, np.uint8)
    for place, image in enumerate(images):
        top = MARGIN + place // columns * (height + MARGIN)
        left = MARGIN + place % columns * (width + MARGIN)
        canvas_hwc[top : top + height, left : left + width] = image.pixels_hwc
    return Image(canvas_hwc)


def sheet(rows: Sequence[tuple[str, Sequence[Image]]]) -> Image:
    """Rows of pictures with each row's label at its left; small pictures are drawn larger."""
    columns = len(rows[0][1])
    pictures = [_enlarged(image) for _, images in rows for image in images]
    plain_hwc = grid(pictures, columns).pixels_hwc
    font = PIL.ImageFont.load_default(size=14)
    text_width = max(font.getlength(label) for label, _ in rows)
    left = round(text_width) + 8 if text_width else 0

    height, width, channels = plain_hwc.shape
    canvas = PIL.Image.new(
        "L" if channels == 1 else "RGB", (left + width, height), _grey(PAPER, channels)
    )
    pen = PIL.ImageDraw.Draw(canvas)
    row_height = (height - MARGIN) / len(rows)
    for place, (label, _) in enumerate(rows):
        middle = MARGIN / 2 + row_height * (place + 0.5)
        pen.text((left - 4, middle), label, _grey(INK, channels), font, anchor="rm")
    pixels_hwc = np.array(canvas).reshape(height, left + width, channels)
    pixels_hwc[:, left:] = plain_hwc
    return Image(pixels_hwc)


def _enlarged(image: Image) -> Image:
    factor = max(1, READABLE // image.pixels_hwc.shape[0])
    return Image(image.pixels_hwc.repeat(factor, axis=0).repeat(factor, axis=1))


def _grey(level: int, channels: int) -> int | tuple[int, ...]:
    return level if channels == 1 else (level,) * channels
