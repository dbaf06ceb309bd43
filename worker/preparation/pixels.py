"""Pixels of one image: decoding what files hold, and making it square.

Shapes: H height, W width, C channels, 1 for grey and 3 for RGB.
"""

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from worker.preparation.files import Unreadable
from worker.preparation.limits import MAX_IMAGE_PIXELS

# Pillow warns above this size and raises above its double; `_quietly` makes the warning an error.
Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
WHITE = (255, 255, 255)


def decode(content: bytes | np.ndarray) -> np.ndarray:
    """Pixels uint8 (H, W, C) as a person would see the image; C is 1 if it has no colour at all.

    Upright by its EXIF tag, its first frame, transparency over white, 16 bits cut to 8. Raises
    Unreadable.
    """
    if isinstance(content, np.ndarray):
        return content
    try:
        with _quietly(), Image.open(io.BytesIO(content), formats=FORMATS) as image:
            pixels = _pixels(ImageOps.exif_transpose(image))
    except Unreadable:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Unreadable(f"more than {MAX_IMAGE_PIXELS:,} pixels") from None
    except Image.UnidentifiedImageError:
        raise Unreadable(f"not an image of the kinds {', '.join(FORMATS)}") from None
    except Exception as error:  # a damaged file may make a decoder raise anything
        raise Unreadable(f"cannot be decoded: {error}") from None
    return _without_empty_colour(pixels)


def shorter_side(content: bytes | np.ndarray) -> int | None:
    """In pixels, from the header alone; None where it is no image."""
    if isinstance(content, np.ndarray):
        return min(content.shape[:2])
    try:
        with _quietly(), Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return min(image.size)
    except Exception:  # the reason is given when the image is decoded
        return None


def content_digest(pixels_hwc: np.ndarray) -> bytes:
    """SHA-256 of the decoded image, whatever file it came in and whatever size it will get."""
    shape = "x".join(map(str, pixels_hwc.shape))
    return hashlib.sha256(shape.encode() + b":" + pixels_hwc.tobytes()).digest()


def squared(
    pixels_hwc: np.ndarray, size: int, policy: Literal["crop", "pad", "stretch"]
) -> np.ndarray:
    """The image at (size, size, C), by the policy that `ImageOptions.policy` describes.

    Both filters are smooth: Lanczos where the image shrinks; bicubic where it grows, because it
    rings less around hard edges such as a digit's.
    """
    height, width, channels = pixels_hwc.shape
    if height == width == size:
        return pixels_hwc
    image = Image.fromarray(pixels_hwc[..., 0] if channels == 1 else pixels_hwc)
    shrinks = min(height, width) > size
    resampling = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    square = (size, size)
    if height == width or policy == "stretch":
        image = image.resize(square, resampling)
    elif policy == "crop":
        image = ImageOps.fit(image, square, resampling)
    else:
        image = ImageOps.pad(image, square, resampling, color=255 if channels == 1 else WHITE)
    return np.asarray(image).reshape(size, size, channels)


def to_channels(pixels_hwc: np.ndarray, channels: int) -> np.ndarray:
    """(H, W, channels): grey repeated, or colour weighed by brightness (ITU-R BT.601)."""
    if pixels_hwc.shape[2] == channels:
        return pixels_hwc
    if channels == 3:
        return np.repeat(pixels_hwc, 3, axis=2)
    return np.asarray(Image.fromarray(pixels_hwc).convert("L"))[..., None]


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise Unreadable("pixels of floating point have no known range")
    if image.mode.startswith("I"):
        # 16 bits, or the 32 that Pillow sometimes reads them into.
        grey = np.asarray(image).astype(np.int64) >> 8
        return grey.clip(0, 255).astype(np.uint8)[..., None]
    if image.mode == "L" and not image.has_transparency_data:
        return np.asarray(image)[..., None]
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, WHITE)
        image = Image.alpha_composite(paper, coloured)
    return np.asarray(image.convert("RGB"))


def _without_empty_colour(pixels_hwc: np.ndarray) -> np.ndarray:
    if pixels_hwc.shape[2] == 1:
        return pixels_hwc
    red, green, blue = (pixels_hwc[..., k] for k in range(3))
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return np.ascontiguousarray(red)[..., None]
    return pixels_hwc


@contextmanager
def _quietly() -> Iterator[None]:
    """No warnings, because files are often sloppy; but an error for an image that is too large."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
