"""Real data sets, where they lie beside the project."""

import io
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from worker.dataset import SPLITS
from worker.preparation.prepare import Source


def sources(folder: Path, pattern: str) -> list[Source]:
    found = [Source(path, path.name) for path in sorted(folder.glob(pattern))]
    assert found
    return found


def test_mnist_keeps_every_digit(desk, data):
    begun = time.monotonic()
    dataset, report = desk.images(*sources(data / "mnist", "*.gz"), size=28)
    assert time.monotonic() - begun < 30
    assert report.examples == 70_000
    assert report.labels["1"] == 7877
    assert dataset.labels == tuple("0123456789")
    assert abs(report.splits["test"] - 7000) < 300
    # Of all digits a one has the least ink, and a zero the most.
    images, labels = dataset.images("test"), dataset.label_indices("test")
    ink = [images[labels == label].mean() for label in range(10)]
    assert (int(np.argmin(ink)), int(np.argmax(ink))) == (1, 0)


def test_digits_as_files_in_folders_keep_every_digit(desk):
    digits = load_digits()
    members = {}
    for k, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        target = io.BytesIO()
        Image.fromarray((image * 255 / 16).astype(np.uint8)).save(target, "PNG")
        members[f"digits/{label}/{k}.png"] = target.getvalue()
    dataset, report = desk.images(desk.zip("digits.zip", members), size=16)
    assert report.examples == 1797
    assert (dataset.size, dataset.channels, len(dataset.labels)) == (16, 1, 10)
    assert min(report.splits[split] for split in SPLITS) > 100


def test_photographs_of_odd_sizes_become_squares(desk, data):
    pets = sources(data / "pets-photos", "oxford*.tar")
    dataset, report = desk.images(*pets, size=64)
    assert report.labels == {"cats": 60, "dogs": 125}
    assert report.rejected_total == 0
    assert dataset.images("train").shape[1:] == (64, 64, 3)


def test_a_novel_becomes_documents_in_english(desk, data):
    novel = sources(data / "text-en" / "gutenberg", "frankenstein.txt")
    _, report = desk.texts(*novel)
    assert 150 < report.examples < 250
    assert report.languages["en"] == report.examples
    assert report.rejected_total == 0


def test_chinese_passages_are_kept(desk, data):
    passages = sources(data / "text-zh", "wiki*.gz")
    _, report = desk.texts(*passages)
    assert report.examples > 840
    assert report.languages["zh"] > 840
