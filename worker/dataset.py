"""Prepared data sets as the worker reads them: a folder with `manifest.json` and a file per split.

Images: `<split>.images.npy` uint8 (N, H, W, C) and `<split>.labels.npy` int64 (N,), -1 for no
label. Text: `<split>.jsonl`, one object per document: `text`, `label` (or null), `language`, and
of an example to imitate `learnt`, a list of [start, end).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shared.states import Modality

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class ImageDataset:
    """Square images of one size; `labels[k]` is the name of label k."""

    folder: Path
    hash: str
    labels: tuple[str, ...]
    size: int
    channels: int

    def images(self, split: Split) -> np.ndarray:
        """uint8 (N, H, W, C), mapped from disk."""
        return np.load(self.folder / f"{split}.images.npy", mmap_mode="r", allow_pickle=False)

    def label_indices(self, split: Split) -> np.ndarray:
        """int64 (N,); -1 where an image has no label."""
        return np.load(self.folder / f"{split}.labels.npy", allow_pickle=False)


Span = tuple[int, int]
"""Characters [start, end) of a text."""


@dataclass(frozen=True)
class Example:
    """A text, and what of it a model is to learn to write; None: all of it."""

    text: str
    learnt: tuple[Span, ...] | None = None


@dataclass(frozen=True)
class TextDataset:
    """Documents of Unicode text."""

    folder: Path
    hash: str
    validation: "TextDataset | None" = None
    """All of which takes the place of the split of that name."""

    def examples(self, split: Split) -> list[Example]:
        if split == "validation" and self.validation is not None:
            return [example for part in SPLITS for example in self.validation.examples(part)]
        with (self.folder / f"{split}.jsonl").open(encoding="utf-8") as lines:
            return [_example(json.loads(line)) for line in lines]

    def documents(self, split: Split) -> list[str]:
        return [example.text for example in self.examples(split)]


def _example(line: dict[str, Any]) -> Example:
    spans = line.get("learnt")
    learnt = None if spans is None else tuple((start, end) for start, end in spans)
    return Example(line["text"], learnt)


Dataset = ImageDataset | TextDataset


def open_dataset(folder: Path) -> Dataset:
    """The prepared data set in `folder`."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if manifest["modality"] == Modality.IMAGE:
        return ImageDataset(
            folder,
            manifest["hash"],
            tuple(manifest["labels"]),
            manifest["size"],
            manifest["channels"],
        )
    return TextDataset(folder, manifest["hash"])
