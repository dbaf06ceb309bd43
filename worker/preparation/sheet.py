"""Sample sheets: what a person looks at to see whether a data set is what was meant."""

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worker.dataset import ImageDataset, Split

MOST_EXAMPLES = 100
COLUMNS = 10
SMALLEST_CELL = 64
GAP = 4
MARGIN = 120
EXCERPT_CHARACTERS = 300
MOST_NAME_CHARACTERS = 16

Item = TypeVar("Item")


class Sample(Generic[Item]):
    """The examples with the smallest digests: a random draw that does not depend on the order."""

    def __init__(self, most: int):
        self.most = most
        self._kept: list[tuple[int, Item]] = []

    def offer(self, digest: bytes, item: Item) -> None:
        # A heap has its least on top; negative numbers put the largest digest there.
        entry = (-int.from_bytes(digest, "big"), item)
        if len(self._kept) < self.most:
            heapq.heappush(self._kept, entry)
        else:
            heapq.heappushpop(self._kept, entry)

    def items(self) -> list[Item]:
        return [item for _, item in sorted(self._kept, key=lambda entry: -entry[0])]


class ImageSheet:
    """Draws up to 100 images: a row per label, or rows of ten without labels."""

    def __init__(self) -> None:
        self._samples: dict[str | None, Sample[tuple[Split, int]]] = {}

    def offer(self, digest: bytes, label: str | None, split: Split, position: int) -> None:
        if label in self._samples or len(self._samples) < MOST_EXAMPLES:
            sample = self._samples.setdefault(label, Sample(MOST_EXAMPLES))
            sample.offer(digest, (split, position))

    def draw(self, dataset: ImageDataset, path: Path) -> None:
        """Write a PNG of the finished data set's images."""
        rows = list(self._rows(dataset.labels))
        scale = max(1, SMALLEST_CELL // dataset.size)
        cell = dataset.size * scale + GAP
        width = MARGIN + cell * max(len(places) for _, places in rows)
        sheet = Image.new("RGB", (width, cell * len(rows) + GAP), "white")
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
        for row, (name, places) in enumerate(rows):
            top = GAP + row * cell
            pen.text((GAP, top), name[:MOST_NAME_CHARACTERS], fill="black", font=font)
            for column, (split, position) in enumerate(places):
                image = _picture(dataset.images(split)[position], scale)
                sheet.paste(image, (MARGIN + column * cell, top))
        sheet.save(path)

    def _rows(self, labels: tuple[str, ...]) -> Iterator[tuple[str, list[tuple[Split, int]]]]:
        if not labels:
            places = self._samples[None].items()
            for start in range(0, len(places), COLUMNS):
                yield "", places[start : start + COLUMNS]
            return
        each = max(1, min(COLUMNS, MOST_EXAMPLES // len(self._samples)))
        for label in (*labels, None):
            if label in self._samples:
                yield label or "no label", self._samples[label].items()[:each]


class TextSheet:
    """Writes the beginnings of up to 100 documents."""

    def __init__(self) -> None:
        self._sample: Sample[str] = Sample(MOST_EXAMPLES)

    def offer(self, digest: bytes, label: str | None, language: str, text: str) -> None:
        heading = f"[{language}]" if label is None else f"[{language}] {label}"
        more = "…" if len(text) > EXCERPT_CHARACTERS else ""
        self._sample.offer(digest, f"{heading}\n{text[:EXCERPT_CHARACTERS]}{more}\n")

    def write(self, path: Path) -> None:
        path.write_text("\n".join(self._sample.items()), encoding="utf-8")


def _picture(pixels_hwc: np.ndarray, scale: int) -> Image.Image:
    image = Image.fromarray(pixels_hwc.squeeze(axis=2) if pixels_hwc.shape[2] == 1 else pixels_hwc)
    size = image.width * scale
    return image.resize((size, size), Image.Resampling.NEAREST)
