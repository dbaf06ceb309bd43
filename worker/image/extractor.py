"""A small network that looks at pictures, trained on the data set itself: no download.

Where pictures have labels it learns to tell them; elsewhere it learns which way up a picture was
(Gidaris et al. 2018, arXiv 1803.07728). Its last hidden layer is what distances are measured in.
B batch, C channels, H height, W width, N pictures, F features, K classes.
"""

import hashlib
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from worker.dataset import ImageDataset
from worker.family import UNWATCHED, Run, check

FEATURES = 64
CHANNELS = (16, 32, 64, 64, 64)
ROTATIONS = 4

STEPS = 600
BATCH = 128
SECONDS = 12.0
"""A slow machine ends before `STEPS`: the judge should not eat the budget of what it judges."""
PEAK_RATE = 3e-3
CHUNK = 500
"""Pictures looked at in one pass."""
SCALE_FROM = 1000
"""Training pictures that the features' scale is taken from."""


class Network(nn.Module):
    """Pictures (B, C, H, W) in [-1, 1] → features (B, F); `classify` takes those to (B, K)."""

    def __init__(self, size: int, channels: int, classes: int):
        super().__init__()
        layers: list[nn.Module] = []
        for outputs in CHANNELS:
            if size <= 4:
                break
            layers += [nn.Conv2d(channels, outputs, 4, stride=2, padding=1), nn.ReLU()]
            size, channels = size // 2, outputs
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.features = nn.Linear(channels * size**2, FEATURES)
        self.classify = nn.Linear(FEATURES, classes)

    def forward(self, image_bchw: Tensor) -> Tensor:
        return F.relu(self.features(self.body(image_bchw)))


class Extractor:
    """What judges pictures of one data set."""

    def __init__(self, dataset: ImageDataset, device: torch.device):
        self.device = device
        self.labelled = len(np.setdiff1d(dataset.label_indices("train"), [-1])) > 1
        classes = len(dataset.labels) if self.labelled else ROTATIONS
        # The same start every time, whatever the process drew before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = Network(dataset.size, dataset.channels, classes)
        self.network.to(device)
        task = "labels" if self.labelled else "rotations"
        self.task = f"{task}-{dataset.size}px"

    @property
    def name(self) -> str:
        """Such as `fd-labels-28px@3f2a`: what was learnt, and the start of the weights' hash."""
        return f"fd-{self.task}@{hashlib.sha256(save(self._weights())).hexdigest()[:4]}"

    def look(self, pixels_nhwc: np.ndarray) -> tuple[Tensor, Tensor]:
        """uint8 pictures → features (N, F) and logits (N, K), float32 on the CPU."""
        features, logits = [], []
        with torch.inference_mode():
            for start in range(0, len(pixels_nhwc), CHUNK):
                seen = self.network(self._images(pixels_nhwc[start : start + CHUNK]))
                features.append(seen.cpu())
                logits.append(self.network.classify(seen).cpu())
        return torch.cat(features), torch.cat(logits)

    def train(self, dataset: ImageDataset, run: Run = UNWATCHED) -> None:
        """A few seconds of classification on the train split. Raises Stopped once `run` should."""
        images_nhwc, labels_n = dataset.images("train"), dataset.label_indices("train")
        usable = np.flatnonzero(labels_n >= 0) if self.labelled else np.arange(len(images_nhwc))
        chance = np.random.default_rng(0)
        adam = torch.optim.Adam(self.network.parameters(), PEAK_RATE)
        began = time.monotonic()
        for step in range(STEPS):
            fraction = max(step / STEPS, (time.monotonic() - began) / SECONDS)
            if fraction >= 1:
                break
            check(run)
            for group in adam.param_groups:
                group["lr"] = PEAK_RATE * 0.5 * (1 + math.cos(math.pi * fraction))
            chosen = np.sort(chance.choice(usable, min(BATCH, len(usable)), replace=False))
            image, target = self._lesson(images_nhwc[chosen], labels_n[chosen], chance)
            loss = F.cross_entropy(self.network.classify(self.network(image)), target)
            adam.zero_grad()
            loss.backward()
            adam.step()
        self._normalise(images_nhwc[np.sort(chance.permutation(len(images_nhwc))[:SCALE_FROM])])

    def load(self, file: Path) -> bool:
        """Take the weights from a file; False where it is absent, damaged or of another shape."""
        try:
            self.network.load_state_dict(load_file(file))
        except (OSError, SafetensorError, RuntimeError):
            return False
        return True

    def save(self, file: Path) -> None:
        """Write the weights; a reader sees the whole file or none."""
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.name}.{time.time_ns()}.part")
        part.write_bytes(save(self._weights()))
        part.replace(file)

    @torch.no_grad()
    def _normalise(self, pixels_nhwc: np.ndarray) -> None:
        """Bring the features to a mean square of 1, so that distances of two data sets compare.

        The classifier takes the factor back; through a ReLU that changes nothing else.
        """
        scale = self.look(pixels_nhwc)[0].square().mean().sqrt().clamp(min=1e-6).item()
        self.network.features.weight.div_(scale)
        self.network.features.bias.div_(scale)
        self.network.classify.weight.mul_(scale)

    def _lesson(
        self, pixels_bhwc: np.ndarray, labels_b: np.ndarray, chance: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Pictures and the classes to tell."""
        if self.labelled:
            return self._images(pixels_bhwc), torch.from_numpy(labels_b).to(self.device)
        turns = chance.integers(ROTATIONS, size=len(pixels_bhwc))
        turned = [np.rot90(pixels, turn) for pixels, turn in zip(pixels_bhwc, turns, strict=True)]
        return self._images(np.stack(turned)), torch.from_numpy(turns).to(self.device)

    def _images(self, pixels_bhwc: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(np.array(pixels_bhwc)).to(self.device)
        return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1

    def _weights(self) -> dict[str, Tensor]:
        return {
            name: weight.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, weight in self.network.state_dict().items()
        }


def extractor_of(
    dataset: ImageDataset, cache: Path, device: torch.device, run: Run = UNWATCHED
) -> Extractor:
    """The data set's extractor: from the cache, else trained and put there."""
    extractor = Extractor(dataset, device)
    file = cache / f"extractor-{extractor.task}.safetensors"
    if not extractor.load(file):
        extractor.train(dataset, run)
        extractor.save(file)
    return extractor
