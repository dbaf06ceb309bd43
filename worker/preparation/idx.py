"""IDX files, the format of MNIST: a file of images and a file of labels make a pair.

Source: http://yann.lecun.com/exdb/mnist/ (big-endian; magic 2051 for images, 2049 for labels).
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import BinaryIO

import numpy as np

from shared.errors import Invalid
from worker.preparation.collect import Reject, Uploads
from worker.preparation.files import Kind, Progress, Source, Unreadable, unpacked, unpacked_kind_of
from worker.preparation.limits import MAX_EXAMPLES, MAX_IMAGE_PIXELS


@dataclass(frozen=True)
class Pair:
    """Images and, where there are any, the labels of the same number."""

    images: Source
    labels: Source | None


@dataclass(frozen=True)
class IdxImage:
    """One image: uint8 (H, W, 1)."""

    where: str
    pixels_hwc: np.ndarray
    label: str | None


def pairs(uploads: Uploads) -> list[Pair]:
    """Every file of images with the labels that fit: as many, and of the most similar name.

    Raises Invalid for labels without images, and where some images have labels and others none.
    """
    labels = uploads.of_kind(Kind.IDX_LABELS)
    found = []
    for images in uploads.of_kind(Kind.IDX_IMAGES):
        fitting = [source for source in labels if _count(source) == _count(images)]
        best = max(fitting, key=lambda source: _likeness(source, images), default=None)
        if best is not None:
            labels.remove(best)
        found.append(Pair(images, best))
    if labels:
        raise Invalid(
            f"{labels[0].filename}: {_count(labels[0]):,} labels, but no file of as many images"
        )
    return found


def images_of(pair: Pair, progress: Progress, reject: Reject) -> Iterator[IdxImage]:
    """The images of a pair in their order."""
    labels = _labels_of(pair.labels) if pair.labels else None
    name = pair.images.filename
    with progress.opened(pair.images) as raw, _content(raw, pair.images) as stream:
        count, height, width = struct.unpack(">4x3I", stream.read(16))
        if not 0 < height * width <= MAX_IMAGE_PIXELS:
            raise Invalid(f"{name}: images of {width} x {height} pixels")
        for index in range(count):
            block = stream.read(height * width)
            if len(block) < height * width:
                reject(name, f"ends after {index:,} of {count:,} images")
                return
            pixels = np.frombuffer(block, np.uint8).reshape(height, width, 1)
            yield IdxImage(f"{name}[{index}]", pixels, str(labels[index]) if labels else None)


def _labels_of(source: Source) -> bytes:
    with source.path.open("rb") as raw, _content(raw, source) as stream:
        (count,) = struct.unpack(">4xI", stream.read(8))
        if count > MAX_EXAMPLES:
            raise Invalid(f"{source.filename}: {count:,} labels; the limit is {MAX_EXAMPLES:,}")
        labels = stream.read(count)
    if len(labels) < count:
        raise Invalid(f"{source.filename}: ends after {len(labels):,} of {count:,} labels")
    return labels


@contextmanager
def _content(raw: BinaryIO, source: Source) -> Iterator[BinaryIO]:
    _, packed = unpacked_kind_of(raw)
    try:
        yield unpacked(raw, source.path.stat().st_size, source.filename) if packed else raw
    except (Unreadable, struct.error) as error:
        raise Invalid(f"{source.filename}: a damaged IDX file: {error}") from error


def _count(source: Source) -> int:
    with source.path.open("rb") as raw, _content(raw, source) as stream:
        return int.from_bytes(stream.read(8)[4:], "big")


def _likeness(one: Source, other: Source) -> int:
    """Characters that both names begin with."""
    pairs_of_characters = zip(one.filename, other.filename, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs_of_characters))
