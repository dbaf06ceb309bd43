"""What the tests of text share: a small data set in several languages, and two models to run."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.families.causal_lm import TextTraining
from worker.dataset import Example, TextDataset
from worker.text.causal_lm.family import CausalLm
from worker.text.causal_lm.model import LoadedText

CPU = torch.device("cpu")
TINY = TextTraining(
    batch_size=4,
    context=64,
    vocabulary=400,
    layers=2,
    width=32,
    heads=2,
    learning_rate=3e-3,
    seed=5,
)
DOCUMENTS = [
    text
    for number in range(40)
    for text in (
        f"The {number} ships sailed at dawn, and {number} gulls went along over the grey sea.",
        f"第{number}条船在黎明启航,海鸥随船飞过灰色的大海。",
        f"Les {number} navires partirent à l'aube 🙂, et la mer était grise.",
    )
]

MakeDataset = Callable[[Sequence[str | Example]], TextDataset]


class Bystander:
    """A run that records its progress and stops after a number of looks."""

    def __init__(self, looks: int | None = None):
        self.fractions: list[float] = []
        self._looks = looks

    def should_stop(self) -> bool:
        if self._looks is None:
            return False
        self._looks -= 1
        return self._looks < 0

    def progress(self, fraction: float) -> None:
        self.fractions.append(fraction)


def _line(document: str | Example) -> dict[str, Any]:
    if isinstance(document, str):
        return {"text": document, "label": None, "language": "und"}
    return {"text": document.text, "label": None, "language": "und", "learnt": document.learnt}


def write_dataset(folder: Path, documents: Sequence[str | Example]) -> TextDataset:
    """A prepared data set: every tenth document for validation, every tenth for the test."""
    splits = {
        "train": [
            text for place, text in enumerate(documents) if place % 10 < 8 or len(documents) < 10
        ],
        "validation": [text for place, text in enumerate(documents) if place % 10 == 8],
        "test": [text for place, text in enumerate(documents) if place % 10 == 9],
    }
    for split, texts in splits.items():
        lines = (json.dumps(_line(text)) for text in texts)
        (folder / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return TextDataset(folder, "0" * 64)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Models this small run fastest on one thread, above all beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def bystander() -> type[Bystander]:
    return Bystander


@pytest.fixture
def make_dataset(tmp_path_factory: pytest.TempPathFactory) -> MakeDataset:
    return lambda documents: write_dataset(tmp_path_factory.mktemp("dataset"), documents)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> TextDataset:
    return write_dataset(tmp_path_factory.mktemp("dataset"), DOCUMENTS)


@pytest.fixture(scope="session")
def tiny_params() -> TextTraining:
    return TINY


@pytest.fixture(scope="session")
def tiny_folder(dataset: TextDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a few thousand parameters after 60 steps, saved."""
    trainee = CausalLm().trainee(dataset, None, TINY, CPU)
    for step in range(60):
        trainee.advance(step / 60, 1.0)
    folder = tmp_path_factory.mktemp("tiny")
    trainee.save(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> LoadedText:
    return CausalLm().load(tiny_folder, CPU)


@pytest.fixture(scope="session")
def stories(data: Path) -> LoadedText:
    """A really trained Llama of 260,000 parameters."""
    return CausalLm().load(data / "weights-llama-stories260k" / "hf", CPU)
