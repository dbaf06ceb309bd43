"""How good a model is: the values a modality's `quality.py` gives back, and what the harness asks
of it.
"""

from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from shared.states import Modality
from worker.family import UNWATCHED, Loaded, Media, Run


@dataclass(frozen=True)
class Metric:
    """One number with what is needed to judge it."""

    value: float
    better: Literal["lower", "higher"]
    n: int
    """How many outputs or units it was measured over."""
    floor: float | None = None
    """What real data reach against real data, or a known rival (see `against`)."""
    against: str | None = None
    """What the floor is, or which extractor measured: `fd-digits@3f2a`, `xz -9e`, …"""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Quality(Protocol):
    """Measures models of one modality on one data set.

    Made once per training, before its first step.
    """

    objective: str
    """The metric that keep-best and early stop follow."""

    def measure(self, loaded: Loaded, *, quick: bool) -> dict[str, Metric]:
        """Metrics by name.

        `quick`: a smaller N and the objective at least, while training goes on.
        """

    def sheet(self, loaded: Loaded) -> Media:
        """A sample sheet from fixed seeds, so that sheets of a training can be compared."""


class Judge(Protocol):
    """Makes a Quality: `worker/<modality>/quality.py` has one as `quality_of`."""

    def __call__(
        self, family: Any, dataset: Any, cache: Path, device: Any, run: Run = UNWATCHED
    ) -> Quality:
        """`cache` is a folder for this data set's own extractor: trained once, then reused.

        Whatever takes long, now and in the Quality, raises Stopped once `run` should stop.
        """


def judge_of(modality: Modality) -> Judge:
    """The judge of a modality. Imported at need, with its libraries."""
    return import_module(f"worker.{modality}.quality").quality_of
