"""Parameters of `causal_lm`: a Llama that continues prompts in any language."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from shared.errors import Invalid
from shared.family import Family, GenerationParams, TrainingParams
from shared.states import Modality

WIDTH_STEP = 16
"""Room for new tokens comes in multiples of this, since the shape of a pass decides its bits."""


class TextParams(GenerationParams):
    """One prompt to continue."""

    prompt: str = Field(description="The text to continue; may be empty.", max_length=200_000)
    max_tokens: int = Field(64, ge=1, le=4096, description="Most tokens of each continuation.")
    temperature: float = Field(
        1.0, ge=0, le=2, description="0 takes the likeliest token each time."
    )
    top_p: float = Field(
        1.0, gt=0, le=1, description="Sample among the likeliest tokens up to this mass."
    )
    stop: list[str] = Field([], max_length=4, description="End before any of these texts.")
    logprobs: int | None = Field(
        None,
        ge=0,
        le=5,
        description="Also give the log-probabilities of this many likeliest tokens.",
    )

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop or []

    @field_validator("stop")
    @classmethod
    def _not_empty(cls, stop: list[str]) -> list[str]:
        if "" in stop:
            raise ValueError("a stop text must not be empty")
        return stop

    def check(self, config: Mapping[str, Any]) -> None:
        # Older architectures have another word for it.
        context = config.get("max_position_embeddings") or config.get("n_positions")
        if context is None:
            return
        if self.max_tokens >= context:
            raise Invalid(
                f"max_tokens: {self.max_tokens} leaves no room for a prompt in this model's "
                f"context of {context} tokens; ask for at most {context - 1}",
                param="max_tokens",
            )

    def batch_shape(self) -> str:
        # The API knows no tokenizer: bytes stand for tokens. Whoever runs the batch groups exactly.
        prompt_bytes = len(self.prompt.encode())
        return f"{-(-prompt_bytes // 64)}x{-(-self.max_tokens // WIDTH_STEP)}"

    def cost(self) -> float:
        return self.n * (1 + self.max_tokens / 64)


class TextTraining(TrainingParams):
    """Training from a text data set."""

    batch_size: int = Field(8, ge=1, le=4096, description="Sequences per step.")
    learning_rate: float = Field(
        8e-3, gt=0, le=1, description="Peak of the schedule; a wider model wants a lower one."
    )
    context: int = Field(256, ge=32, le=8192, description="Tokens the model sees at once.")
    vocabulary: int = Field(2048, ge=300, le=65_536, description="Entries of the byte-level BPE.")
    layers: int = Field(4, ge=1, le=64, description="Transformer layers.")
    width: int = Field(
        128, ge=32, le=8192, description="Hidden size; a multiple of `heads` times 2."
    )
    heads: int = Field(4, ge=1, le=128, description="Attention heads.")


FAMILY = Family(
    name="causal_lm",
    modality=Modality.TEXT,
    summary="A Llama language model: continues prompts; trained here or imported from safetensors.",
    generation=TextParams,
    training=TextTraining,
    implementation="worker.text.causal_lm.family:CausalLm",
)
