"""What a GPU is worth beside all cores of the same machine, in one run. One line of JSON; where
there is no GPU, a sentence that says so. Run: python -m tests.benchmarks.gpu (about two minutes).

* training: steps a second of each family as its parameters stand, and of larger networks
* generation: pictures a second, and tokens a second, of what was just trained, a batch at a time
* ratio: the GPU's figure over the processor's
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shared.families.causal_lm import TextParams, TextTraining
from shared.families.conditional_gan import ImageParams, ImageTraining
from shared.family import GenerationParams, TrainingParams
from tests.benchmarks.shakespeare import TEXT
from tests.worker.image.conftest import write_dataset as write_images
from tests.worker.text.conftest import write_dataset as write_texts
from worker.dataset import Dataset
from worker.device import describe
from worker.family import UNWATCHED, Part, Request, Trainee
from worker.image.conditional_gan.family import ConditionalGan
from worker.text.causal_lm.family import CausalLm

GPU, CPU = torch.device("cuda"), torch.device("cpu")
SECONDS = 4.0
"""Of each measurement."""
WARM_UP_STEPS = 6
"""A GPU's first steps load kernels, and record them."""
BATCH = 16
"""As many items as a worker claims at once."""
LARGER_TEXT = TextTraining(layers=8, width=512, heads=8, batch_size=32, learning_rate=2e-3)


@dataclass(frozen=True)
class Course:
    """What is trained, and what is then asked of it."""

    code: Any
    dataset: Dataset
    params: TrainingParams
    asked: Sequence[GenerationParams]

    def trainee(self, device: torch.device) -> Trainee:
        return self.code.trainee(self.dataset, None, self.params, device)


def courses(scratch: Path) -> dict[str, Course]:
    pictures = [ImageParams(label=str(seed % 10), seed=seed) for seed in range(BATCH)]
    text = TEXT.read_text(encoding="utf-8")
    documents = [text[start : start + 20_000] for start in range(0, len(text), 20_000)]
    (scratch / "text").mkdir()
    shakespeare = write_texts(scratch / "text", documents)
    prompts = [TextParams(prompt="KING:\n", max_tokens=64, seed=seed) for seed in range(BATCH)]
    gan, lm = ConditionalGan(), CausalLm()
    return {
        "images_28px": Course(gan, noise(scratch, 28, 1), ImageTraining(), pictures),
        "images_128px": Course(gan, noise(scratch, 128, 3), ImageTraining(), pictures),
        "text": Course(lm, shakespeare, TextTraining(), prompts),
        "larger_text": Course(lm, shakespeare, LARGER_TEXT, prompts),
    }


def noise(scratch: Path, size: int, channels: int) -> Dataset:
    """Pictures of nothing: what they show does not change how long they take."""
    pixels = np.random.default_rng(0).integers(0, 256, (1000, size, size, channels), dtype=np.uint8)
    return write_images(scratch / f"{size}px", pixels, np.arange(1000) % 10, list("0123456789"))


def steps_per_second(trainee: Trainee) -> float:
    for _ in range(WARM_UP_STEPS):
        trainee.advance(0.1, 1.0)
    # A step gives its losses as numbers: it is over when it returns.
    return rate(lambda: trainee.advance(0.1, 1.0) and 1)


def outputs_per_second(course: Course, weights: Path, device: torch.device) -> float:
    """Pictures, or tokens."""
    loaded = course.code.load(weights, device)
    requests = [Request(params) for params in course.asked]

    def generate() -> int:
        made: Iterator[Part] = course.code.generate(loaded, requests, UNWATCHED)
        return sum(part.facts.get("completion_tokens", 1) for part in made)

    generate()
    return rate(generate)


def rate(work: Callable[[], int]) -> float:
    """What `work` says that it has made, a second."""
    done, began = 0, time.perf_counter()
    while (spent_s := time.perf_counter() - began) < SECONDS:
        done += work()
    return done / spent_s


def compared(measure: Callable[[torch.device], float]) -> dict[str, float]:
    gpu, cpu = measure(GPU), measure(CPU)
    return {"gpu": round(gpu, 1), "cpu": round(cpu, 1), "ratio": round(gpu / cpu, 2)}


def main() -> None:
    if not torch.cuda.is_available():
        print("This machine has no GPU that torch sees: there is nothing to compare.")
        return
    found: dict[str, Any] = {"gpu": describe(GPU), "cpu": describe(CPU)}
    found |= {"training": {}, "generation": {}}
    with tempfile.TemporaryDirectory() as scratch:
        for name, course in courses(Path(scratch)).items():
            found["training"][name] = compared(
                lambda device, course=course: steps_per_second(course.trainee(device))
            )
            weights = Path(scratch) / f"{name}-model"
            course.trainee(GPU).save(weights)
            found["generation"][name] = compared(
                lambda device, course=course, weights=weights: outputs_per_second(
                    course, weights, device
                )
            )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
