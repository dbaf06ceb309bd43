"""Parameters of `causal_lm`: a Llama that continues prompts in any language."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from shared import chat
from shared.errors import Invalid
from shared.family import EmbeddingParams, Family, GenerationParams, TrainingParams
from shared.states import Modality

WIDTH_STEP = 16
"""Room for new tokens comes in multiples of this, since the shape of a pass decides its bits."""


_MOST_CHARACTERS = 200_000


def _plain(messages: Sequence[chat.Message]) -> str:
    turns = [message.model_dump() for message in messages]
    return chat.render(turns, add_generation_prompt=True)


class TextParams(GenerationParams):
    """One prompt to continue, or one conversation."""

    prompt: str | None = Field(
        None, description="The text to continue; may be empty.", max_length=_MOST_CHARACTERS
    )
    messages: list[chat.Message] | None = Field(
        None, min_length=1, description="A conversation instead, to which the model replies."
    )
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
        le=20,
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

    @field_validator("messages")
    @classmethod
    def _not_too_long(cls, messages: list[chat.Message] | None) -> list[chat.Message] | None:
        if len(_plain(messages or ())) > _MOST_CHARACTERS:
            raise ValueError(f"together longer than {_MOST_CHARACTERS} characters")
        return messages

    @model_validator(mode="after")
    def _one_of_both(self) -> "TextParams":
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give a prompt, or messages")
        return self

    def plain(self) -> str:
        """The prompt, or the conversation by the plain template."""
        return (self.prompt or "") if self.messages is None else _plain(self.messages)

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
        prompt_bytes = len(self.plain().encode())
        return f"{-(-prompt_bytes // 64)}x{-(-self.max_tokens // WIDTH_STEP)}"

    def cost(self) -> float:
        return self.n * (1 + self.max_tokens / 64)


class TextEmbedding(EmbeddingParams):
    """Texts of which vectors are wanted."""

    input: list[Annotated[str, Field(min_length=1, max_length=_MOST_CHARACTERS)]] = Field(
        min_length=1, max_length=2048, description="Texts, none of them empty."
    )

    def batch_shape(self) -> str:
        # One pass holds texts of one width; whoever runs the batch groups exactly.
        return f"embed:{-(-max(len(text.encode()) for text in self.input) // 256)}"

    def cost(self) -> float:
        return sum(1 + len(text) / 1024 for text in self.input) / 16


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
    embedding=TextEmbedding,
)
