"""`/v1/embeddings`: vectors of texts, from a text model's own states."""

import base64
from array import array
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.endpoint import Endpoint, EndpointBody, Made
from shared.errors import Invalid
from shared.states import JobKind, Modality

_BYTES = 4
"""Of a float32."""


class EmbeddingsBody(EndpointBody):
    """Texts of which vectors are wanted."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": "stories", "input": ["The dog ran.", "A dog."]}],
        }
    )

    input: str | list[str] = Field(description="A text, or up to 2,048.")
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="`base64`: float32, little-endian. Default `float`."
    )
    dimensions: int | None = Field(None, description="Only the model's own.")

    def params(self, config: Mapping[str, Any]) -> list[dict[str, Any]]:
        made = config.get("hidden_size")
        if self.dimensions not in {None, made}:
            raise Invalid(
                f"dimensions: this model's vectors have {made}; leave it out", param="dimensions"
            )
        return [{"input": [self.input] if isinstance(self.input, str) else self.input}]

    def names(self, seq: int) -> Mapping[str, str]:
        return {"input[0]": "input"} if isinstance(self.input, str) else {}

    def form(self) -> dict[str, Any]:
        return {"base64": True} if self.encoding_format == "base64" else {}


class Embedding(BaseModel):
    """The vector of one text, of length 1."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(BaseModel):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """Vectors."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage


def answer(made: Made) -> dict[str, Any]:
    """The answer's JSON."""
    (output,) = made.outputs
    rows = _rows(made.content(output), output.facts["dimensions"])
    data = [
        Embedding(index=index, embedding=_told(row, bool(made.form.get("base64"))))
        for index, row in enumerate(rows)
    ]
    read = output.facts["prompt_tokens"]
    usage = EmbeddingsUsage(prompt_tokens=read, total_tokens=read)
    return Embeddings(data=data, model=made.model, usage=usage).model_dump(mode="json")


def _rows(content: bytes, dimensions: int) -> list[bytes]:
    size = _BYTES * dimensions
    return [content[start : start + size] for start in range(0, len(content), size)]


def _told(row: bytes, in_base64: bool) -> list[float] | str:
    return base64.b64encode(row).decode() if in_base64 else array("f", row).tolist()


ENDPOINT = Endpoint("/v1/embeddings", Modality.TEXT, EmbeddingsBody, answer, kind=JobKind.EMBEDDING)
