"""What completions and chat completions have in common: how tokens are chosen, and their count."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from shared import neutral
from shared.endpoint import EndpointBody, Seed, Stream
from shared.tables.output import Output

_LIKELIEST_ALONE = 2.0**-20
"""A mass that the likeliest token of any vocabulary has by itself."""


class StreamOptions(BaseModel, extra="forbid", strict=True):
    """How to stream."""

    include_usage: bool | None = Field(None, description="End with a chunk that counts the tokens.")
    include_obfuscation: bool | None = Field(None, description="Accepted; changes nothing.")


class SamplingBody(neutral.OfText, EndpointBody):
    """A request for text."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    seed: Seed | None = None
    stream: Stream = None
    stream_options: StreamOptions | None = None

    @field_validator("stream_options")
    @classmethod
    def _of_a_stream(
        cls, options: StreamOptions | None, others: ValidationInfo
    ) -> StreamOptions | None:
        if options is not None and not others.data.get("stream", True):
            raise ValueError("only a stream has any; leave it out, or send stream as true")
        return options

    def lead(self, seq: int) -> str:
        """What the answer's text of an item begins with, before what the model wrote."""
        return ""

    def sampling(self, *more: str) -> dict[str, Any]:
        """The fields that a text model takes as they are, those that were given."""
        names = ("temperature", "top_p", "n", "stop", "seed", *more)
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if given.get("top_p") == 0:
            given["top_p"] = _LIKELIEST_ALONE
        return given


class Usage(BaseModel):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


def usage(made: Iterable[Output]) -> Usage:
    """The tokens of outputs."""
    outputs = list(made)
    # A prompt is read once, however many continuations it has.
    read = sum(output.facts["prompt_tokens"] for output in outputs if output.index == 0)
    written = sum(output.facts["completion_tokens"] for output in outputs)
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)
