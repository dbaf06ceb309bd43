"""What the API and a worker must agree on about a family: its name, its parameters, how its
requests batch.

One file per family in `shared/families` defines a `FAMILY`; the worker's half is named by
`implementation` and imported only there. No torch here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.errors import Invalid
from shared.states import JobKind, Modality

Seed = Annotated[
    int, Field(ge=0, lt=2**32, description="Fixes the content: same seed, same output.")
]


MAX_SECONDS = 7 * 86_400
"""The longest budget of a training."""


class ItemParams(BaseModel):
    """What one item may ask of a family. `n` outputs come of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int

    def check(self, config: Mapping[str, Any]) -> None:
        """Check against the model's own configuration (its labels, its context length).

        Raises shared.errors.Invalid with `param` naming the field.
        """

    def batch_shape(self) -> str:
        """What should be equal, beside the model version, among requests of one forward pass."""
        return ""

    def cost(self) -> float:
        """A rough measure of the work, in outputs: what fairness charges for."""
        return float(self.n)


class GenerationParams(ItemParams):
    """What one generation item may ask of a family."""

    n: int = Field(1, ge=1, le=16, description="How many outputs to make of this item.")
    seed: Seed | None = Field(None, description="Drawn at acceptance when absent, and recorded.")


class EmbeddingParams(ItemParams):
    """What one embedding item may ask of a family; its vectors are one output."""

    n: Literal[1] = 1


class TrainingParams(BaseModel):
    """What every training job takes, beside its family's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_seconds: float = Field(
        120, gt=0, le=MAX_SECONDS, description="Budget in seconds of compute, evaluations included."
    )
    max_steps: int | None = Field(None, ge=1, description="Budget in optimisation steps.")
    max_epochs: int | None = Field(
        None, ge=1, le=10_000, description="Budget in passes over the training split."
    )
    seed: Seed = 0
    batch_size: int = Field(64, ge=2, le=4096, description="Examples per step.")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Peak of the schedule.")
    patience: int = Field(
        0, ge=0, description="End after this many evaluations without a better one; 0: never early."
    )


@dataclass(frozen=True)
class Family:
    """One entry of the catalogue."""

    name: str
    modality: Modality
    summary: str
    generation: type[GenerationParams]
    training: type[TrainingParams] | None
    implementation: str
    """`module:Class` of the worker's half."""
    embedding: type[EmbeddingParams] | None = None
    """Absent: it gives no vectors."""
    rows: int = 16
    """Rows of a forward pass.

    Fixed, because the shape decides the bits (docs/reproducibility.md).
    """

    PREFIX: ClassVar[str] = "family:"

    def params(self, kind: str) -> type[ItemParams]:
        """The parameters of items of a kind. Raises Invalid when it has no such items."""
        found = self.embedding if kind == JobKind.EMBEDDING else self.generation
        if found is None:
            raise Invalid(f"model: family {self.name} gives no embeddings", param="model")
        return found
