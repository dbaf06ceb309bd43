"""A desk to prepare data sets on: makes small uploads, prepares them, and opens the result."""

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.preparation import ImageOptions, TextOptions
from shared.states import Modality
from worker.dataset import SPLITS, ImageDataset, TextDataset, open_dataset
from worker.preparation.prepare import Source, prepare
from worker.preparation.report import Report


@dataclass
class FakeRun:
    """A host that remembers what it was told, and asks to stop when `stop` is set."""

    stop: bool = False
    fractions: list[float] = field(default_factory=list)

    def should_stop(self) -> bool:
        return self.stop

    def progress(self, fraction: float) -> None:
        self.fractions.append(fraction)


class Desk:
    """Uploads in `folder`, and data sets prepared from them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.run = FakeRun()
        self.count = 0

    def file(self, name: str, content: bytes) -> Source:
        path = self._path()
        path.write_bytes(content)
        return Source(path, name)

    def zip(self, name: str, members: Mapping[str, bytes]) -> Source:
        path = self._path()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return Source(path, name)

    def tar(self, name: str, members: Mapping[str, bytes | tarfile.TarInfo]) -> Source:
        """Members that are a TarInfo go in without content."""
        path = self._path()
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as archive:
            for member, content in members.items():
                if isinstance(content, tarfile.TarInfo):
                    archive.addfile(content)
                    continue
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return Source(path, name)

    def images(self, *sources: Source, **options: Any) -> tuple[ImageDataset, Report]:
        folder = self._path()
        chosen = ImageOptions(**{"size": 16, **options})
        report = prepare(Modality.IMAGE, sources, chosen, folder, self.run)
        dataset = open_dataset(folder)
        assert isinstance(dataset, ImageDataset)
        return dataset, report

    def texts(self, *sources: Source, **options: Any) -> tuple[TextDataset, Report]:
        folder = self._path()
        report = prepare(Modality.TEXT, sources, TextOptions(**options), folder, self.run)
        dataset = open_dataset(folder)
        assert isinstance(dataset, TextDataset)
        return dataset, report

    def _path(self) -> Path:
        self.count += 1
        return self.folder / f"upload-{self.count}"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def _picture(seed: int, width: int = 20, height: int = 20, **how: Any) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    return _encoded(image.convert(how.pop("mode", "RGB")), **how)


def _encoded(image: Image.Image, format: str = "PNG", **how: Any) -> bytes:  # noqa: A002
    target = io.BytesIO()
    image.save(target, format, **how)
    return target.getvalue()


@pytest.fixture
def picture() -> Any:
    """Makes an encoded image of smooth noise: picture(seed, width, height, mode=, format=)."""
    return _picture


@pytest.fixture
def encoded() -> Any:
    """Encodes a PIL image: encoded(image, format)."""
    return _encoded


@pytest.fixture
def pictures() -> Any:
    """Makes members of an archive: pictures(40) has half each in folders `cat` and `dog`."""

    def make(count: int, start: int = 0) -> dict[str, bytes]:
        seeds = range(start, start + count)
        return {f"{'cat' if seed % 2 else 'dog'}/{seed}.png": _picture(seed) for seed in seeds}

    return make


@pytest.fixture
def all_images() -> Any:
    """The prepared images of all splits: all_images(dataset) is uint8 (N, H, W, C)."""
    return lambda dataset: np.concatenate([dataset.images(split) for split in SPLITS])


@pytest.fixture
def all_texts() -> Any:
    """The documents of all splits, sorted."""
    return lambda dataset: sorted(text for split in SPLITS for text in dataset.documents(split))


@pytest.fixture
def json_lines() -> Any:
    """Bytes of JSON Lines: json_lines(["a", "b"]) has one document in `text` each."""

    def make(texts: list[str], **columns: list[Any]) -> bytes:
        rows = [{"text": text} for text in texts]
        for name, values in columns.items():
            for row, value in zip(rows, values, strict=True):
                row[name] = value
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()

    return make


@pytest.fixture
def everything() -> dict[str, int]:
    """Options that put every example into the training split."""
    return {"validation": 0, "test": 0}
