"""Writes prepared images: pixels go to disk as they come, and the headers are completed at the end.

Shapes: N images, H = W = size, C channels.
"""

from array import array
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from worker.dataset import SPLITS, Split
from worker.preparation.pixels import to_channels

IMAGES_AT_ONCE = 256


class PixelFile:
    """A growing `.npy` file of uint8 (N, size, size, C)."""

    def __init__(self, path: Path, size: int, channels: int):
        self.path = path
        self.shape = (size, size, channels)
        self.count = 0
        self.file: BinaryIO = path.open("wb")
        self._write_header()
        self.header_bytes = self.file.tell()

    def append(self, pixels_hwc: np.ndarray) -> None:
        self.file.write(pixels_hwc.tobytes())
        self.count += 1

    def finish(self) -> None:
        self.file.seek(0)
        self._write_header()
        if self.file.tell() != self.header_bytes:
            raise RuntimeError("the header of a .npy file outgrew its place")
        self.file.close()

    def _write_header(self) -> None:
        # numpy pads a header so that the first axis can grow in place.
        header: dict[str, Any] = {"descr": "|u1", "fortran_order": False}
        header["shape"] = (self.count, *self.shape)
        np.lib.format.write_array_header_1_0(self.file, header)


class ImageWriter:
    """`<split>.images.npy` and `<split>.labels.npy` of one data set.

    In mode `auto` the images are grey until the first with colour comes; what was written until
    then is rewritten once in colour.
    """

    def __init__(self, folder: Path, size: int, mode: str):
        self.folder = folder
        self.size = size
        self.mode = mode
        self.channels = 3 if mode == "colour" else 1
        self.labels: dict[str, int] = {}
        self._indices: dict[Split, array] = {split: array("q") for split in SPLITS}
        self._files = {split: self._open(split) for split in SPLITS}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for file in self._files.values():
            file.file.close()

    def append(self, split: Split, pixels_hwc: np.ndarray, label: str | None) -> int:
        """Write uint8 (size, size, 1 or 3); gives the position in the split."""
        if self.mode == "auto" and pixels_hwc.shape[2] > self.channels:
            self._widen()
        self._files[split].append(to_channels(pixels_hwc, self.channels))
        index = -1 if label is None else self.labels.setdefault(label, len(self.labels))
        self._indices[split].append(index)
        return self._files[split].count - 1

    def finish(self, names: list[str]) -> None:
        """Complete the files; labels get their numbers in the order of `names`."""
        # One more at the end, which index -1 finds: no label stays no label.
        numbers = np.full(len(self.labels) + 1, -1, np.int64)
        for number, name in enumerate(names):
            numbers[self.labels[name]] = number
        for split in SPLITS:
            self._files[split].finish()
            indices = np.frombuffer(self._indices[split], np.int64)
            np.save(self.folder / f"{split}.labels.npy", numbers[indices])

    @property
    def bytes(self) -> int:
        return sum(file.path.stat().st_size for file in self._files.values())

    def _open(self, split: Split) -> PixelFile:
        return PixelFile(self.folder / f"{split}.images.npy", self.size, self.channels)

    def _widen(self) -> None:
        self.channels = 3
        for split in SPLITS:
            grey = self._files[split]
            grey.finish()
            grey.path = grey.path.rename(grey.path.with_suffix(".grey"))
            wide = self._files[split] = self._open(split)
            with grey.path.open("rb") as pixels:
                pixels.seek(grey.header_bytes)
                while block := pixels.read(IMAGES_AT_ONCE * self.size * self.size):
                    wide.file.write(np.repeat(np.frombuffer(block, np.uint8), 3).tobytes())
            wide.count = grey.count
            grey.path.unlink()
