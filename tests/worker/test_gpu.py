"""What holds on a processor holds on a GPU, too. Skipped where there is none."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shared.families.causal_lm import TextParams, TextTraining
from shared.families.conditional_gan import ImageParams, ImageTraining
from shared.family import GenerationParams
from tests.worker.image.conftest import write_dataset as write_images
from tests.worker.text.conftest import DOCUMENTS, TINY
from tests.worker.text.conftest import write_dataset as write_texts
from worker.device import give_back_memory
from worker.family import UNWATCHED, Part, Request, Trainee
from worker.image.conditional_gan.family import ConditionalGan
from worker.replay import Replayed
from worker.text.causal_lm.family import CausalLm

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")

CPU, GPU = torch.device("cpu"), torch.device("cuda")
LABELS = list("abcd")


def image_trainee(folder: Path, device: torch.device) -> Trainee:
    chance = np.random.default_rng(0)
    images = chance.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
    dataset = write_images(folder / "images", images, np.arange(200) % len(LABELS), LABELS)
    params = ImageTraining(width=16, latent=16, batch_size=8)
    return ConditionalGan().trainee(dataset, None, params, device)


def text_trainee(folder: Path, device: torch.device, params: TextTraining = TINY) -> Trainee:
    return CausalLm().trainee(write_texts(folder, DOCUMENTS), None, params, device)


TRAINEES = {"images": image_trainee, "texts": text_trainee}
CODE: dict[str, Any] = {"images": ConditionalGan(), "texts": CausalLm()}
REQUESTS: dict[str, Sequence[GenerationParams]] = {
    "images": [
        ImageParams(seed=seed, label=LABELS[seed % 4], n=1 + seed % 3) for seed in range(20)
    ],
    "texts": [
        TextParams(
            prompt="The ships " * (seed % 4),
            seed=seed,
            max_tokens=(5, 20)[seed % 2],
            temperature=(1.0, 0.7, 0.0)[seed % 3],
            top_p=(1.0, 0.9)[seed % 2],
        )
        for seed in range(20)
    ],
}


@pytest.fixture(params=TRAINEES)
def what(request: pytest.FixtureRequest) -> str:
    return request.param


def advanced(trainee: Trainee, steps: int) -> dict[str, float]:
    losses: dict[str, float] = {}
    for _ in range(steps):
        losses = trainee.advance(0.1, 1.0)
    return losses


def loaded(what: str, folder: Path) -> Any:
    """A model that a GPU has trained for some steps."""
    trainee = TRAINEES[what](folder, GPU)
    advanced(trainee, 20)
    trainee.save(folder / "model")
    return CODE[what].load(folder / "model", GPU)


def content(part: Part) -> Any:
    return part.media.pixels_hwc.tobytes() if hasattr(part.media, "pixels_hwc") else part.media


def everything(what: str, model: Any, asked: Sequence[GenerationParams], size: int) -> dict:
    """What is made by (seed, index), `size` requests at a time."""
    return {
        (asked[start + part.request].seed, part.index): (content(part), part.facts)
        for start in range(0, len(asked), size)
        for part in CODE[what].generate(
            model, [Request(one) for one in asked[start : start + size]], UNWATCHED
        )
    }


def test_the_batch_changes_no_bit(what: str, tmp_path: Path) -> None:
    model = loaded(what, tmp_path)
    expected = everything(what, model, REQUESTS[what], 20)

    for size in (1, 3, 16):
        shuffled = random.Random(size).sample(REQUESTS[what], len(REQUESTS[what]))
        assert everything(what, model, shuffled, size) == expected


def test_a_replayed_step_gives_the_bits_of_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded("texts", tmp_path)
    replayed = everything("texts", model, REQUESTS["texts"], 16)
    monkeypatch.setattr(Replayed, "__call__", lambda self, *given: self._compute(*given))

    assert everything("texts", model, REQUESTS["texts"], 16) == replayed


def test_losses_are_those_of_a_processor_but_for_rounding(what: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    on_gpu = advanced(TRAINEES[what](tmp_path, GPU), 8)
    on_cpu = advanced(TRAINEES[what](tmp_path / "other", CPU), 8)

    assert on_gpu == pytest.approx(on_cpu, rel=0.1, abs=0.02)


@pytest.mark.parametrize(("first", "then"), [(CPU, GPU), (GPU, CPU)], ids=str)
def test_a_training_goes_on_where_another_device_left_it(
    what: str, tmp_path: Path, first: torch.device, then: torch.device
) -> None:
    (tmp_path / "other").mkdir()
    begun, resumed = TRAINEES[what](tmp_path, first), TRAINEES[what](tmp_path / "other", then)
    advanced(begun, 6)
    resumed.restore(begun.snapshot())

    assert advanced(resumed, 3) == pytest.approx(advanced(begun, 3), rel=0.1, abs=0.02)


@pytest.fixture
def held() -> Iterator[Any]:
    """Bytes that torch holds of the GPU beyond those of before the test."""
    give_back_memory(GPU)
    before = torch.cuda.memory_reserved()
    yield lambda: torch.cuda.memory_reserved() - before
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_what_is_done_with_holds_no_memory(what: str, tmp_path: Path, held: Any) -> None:
    everything(what, loaded(what, tmp_path), REQUESTS[what], 16)
    assert held() > 0
    give_back_memory(GPU)

    # The libraries keep a workspace that all later work shares.
    assert held() < 256 * 2**20


def test_after_a_pass_without_memory_all_goes_on(tmp_path: Path, held: Any) -> None:
    wide = TINY.model_copy(update={"width": 512, "context": 2048})
    trainee = text_trainee(tmp_path, GPU, wide)
    trainee.save(tmp_path / "model")
    model = CausalLm().load(tmp_path / "model", GPU)
    del trainee
    give_back_memory(GPU)
    asked = [TextParams(prompt="The ships ", seed=1, max_tokens=1900)]
    _, total_bytes = torch.cuda.mem_get_info()
    room_bytes = torch.cuda.memory_reserved() + 2**20
    torch.cuda.set_per_process_memory_fraction(room_bytes / total_bytes)
    with pytest.raises(torch.OutOfMemoryError):
        everything("texts", model, asked, 1)

    torch.cuda.set_per_process_memory_fraction(1.0)
    assert everything("texts", model, REQUESTS["texts"], 16)
