"""What families for tests have in common: nothing to load, and nothing to train."""

from pathlib import Path
from typing import Any

from shared.family import TrainingParams


class Weightless:
    """A family's implementation without a model."""

    def load(self, weights: Path, device: Any) -> Any:
        return _Loaded()

    def trainee(
        self, dataset: Any, base: Any, params: TrainingParams, device: Any, run: Any = None
    ) -> Any:
        raise NotImplementedError


class _Loaded:
    config: dict[str, Any] = {}  # noqa: RUF012 - the same for all
    memory_bytes = 1
