"""The worker's half of `causal_lm`: loads, generates and trains language models."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from shared.errors import Permanent
from shared.families.causal_lm import TextTraining
from shared.family import TrainingParams
from worker.dataset import Dataset, TextDataset
from worker.family import UNWATCHED, Loaded, Request, Run, Yielded
from worker.text.causal_lm.embed import embed
from worker.text.causal_lm.generate import generate
from worker.text.causal_lm.loading import load
from worker.text.causal_lm.model import LoadedText
from worker.text.causal_lm.trainee import TextTrainee


class CausalLm:
    """Implements `worker.family.Implementation`."""

    def load(self, weights: Path, device: torch.device) -> LoadedText:
        """Load a Hugging Face folder. Raises Permanent when it is unsafe or no causal model."""
        return load(weights, device)

    def generate(self, loaded: Loaded, requests: Sequence[Request], run: Run) -> Iterator[Yielded]:
        """Continue prompts; see `worker/text/causal_lm/generate.py` for what holds."""
        assert isinstance(loaded, LoadedText)
        yield from generate(loaded, requests, run)

    def embed(self, loaded: Loaded, requests: Sequence[Request], run: Run) -> Iterator[Yielded]:
        """Vectors of texts; see `worker/text/causal_lm/embed.py`."""
        assert isinstance(loaded, LoadedText)
        yield from embed(loaded, requests, run)

    def trainee(
        self,
        dataset: Dataset,
        base: Loaded | None,
        params: TrainingParams,
        device: torch.device,
        run: Run = UNWATCHED,
    ) -> TextTrainee:
        """Raises Permanent when the data set holds no text or too little of it."""
        if not isinstance(dataset, TextDataset):
            raise Permanent("A language model needs a data set of text; this one holds images.")
        assert isinstance(params, TextTraining)
        assert base is None or isinstance(base, LoadedText)
        return TextTrainee(dataset, base, params, device, run)
