"""Fields of the OpenAI API that change nothing here: which of their values are taken, and which ask
for what is not served.

Null is the same as leaving a field out.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

NOT_SERVED = "not_served"
"""The kind of the fault of a field or value that OpenAI has and nothing here serves."""
_SHOWN = 64

Value = TypeVar("Value")


def not_served(said: str) -> PydanticCustomError:
    """The fault of what is not served; `said` goes on after the field's name."""
    return PydanticCustomError(NOT_SERVED, "{said}", {"said": said})


def _refuse_others(value: Any, take: ValidatorFunctionWrapHandler) -> Any:
    try:
        return take(value)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
    named = f"{value!r} is " if isinstance(value, str) and len(value) <= _SHOWN else ""
    is_other_word = fault["type"] == "literal_error" and not fault["loc"]
    remedy = f"use {fault['ctx']['expected']}" if is_other_word else "leave it out"
    raise not_served(f"{named}not served here; {remedy}")


Only = Annotated[Value, WrapValidator(_refuse_others)]
"""The values that are served; any other one is refused as not served."""

Ignored = Annotated[Value | None, Field(description="Accepted; changes nothing.")]
"""A field whose value never changes an answer."""

NotServed = Annotated[Only[None], Field(description="Not served here.")]
"""A field that nothing here serves."""

Nothing = Annotated[list[Any], Field(max_length=0)]
"""An empty list."""
Zero = Annotated[float, Field(ge=0, le=0)]


class OfAll(BaseModel):
    """Of every endpoint."""

    model_config = ConfigDict(extra="forbid", strict=True)

    user: Ignored[str] = None
    metadata: Ignored[dict[str, Any]] = None
    service_tier: Ignored[str] = None
    store: Ignored[bool] = Field(None, description="Accepted; every output is stored.")
    safety_identifier: Ignored[str] = None


class OfText(BaseModel):
    """Of completions and chat completions."""

    presence_penalty: Only[Zero | None] = Field(None, description="Only 0.")
    frequency_penalty: Only[Zero | None] = Field(None, description="Only 0.")
    logit_bias: Only[Annotated[dict[str, float], Field(max_length=0)] | None] = Field(
        None, description="Only empty."
    )


class OfCompletions(BaseModel):
    """Of completions alone."""

    best_of: Only[Annotated[int, Field(ge=1, le=1)] | None] = Field(None, description="Only 1.")
    suffix: Only[Literal[""] | None] = Field(None, description="Only empty.")


class OfChat(BaseModel):
    """Of chat completions alone."""

    audio: NotServed = None
    function_call: Only[Literal["none", "auto"] | None] = None
    functions: Only[Nothing | None] = Field(None, description="Only empty.")
    modalities: Only[list[Literal["text"]] | None] = None
    moderation: NotServed = None
    parallel_tool_calls: Ignored[bool] = None
    prediction: Ignored[dict[str, Any]] = None
    prompt_cache_key: Ignored[str] = None
    prompt_cache_options: Ignored[dict[str, Any]] = None
    prompt_cache_retention: Ignored[str] = None
    reasoning_effort: Only[Literal["none"] | None] = None
    tool_choice: Only[Literal["none", "auto"] | None] = None
    tools: Only[Nothing | None] = Field(None, description="Only empty.")
    verbosity: Only[Literal["medium"] | None] = None
    web_search_options: NotServed = None


class OfImages(BaseModel):
    """Of images."""

    background: Only[Literal["auto", "opaque"] | None] = None
    complexity: NotServed = None
    frame_count: NotServed = None
    frame_duration_ms: NotServed = None
    moderation: Only[Literal["auto", "low"] | None] = None
    output_compression: Only[Annotated[int, Field(ge=100, le=100)] | None] = Field(
        None, description="Only 100."
    )
    output_format: Only[Literal["png"] | None] = None
    partial_images: Only[Annotated[int, Field(ge=0, le=0)] | None] = Field(
        None, description="Only 0."
    )
    quality: Only[Literal["auto", "standard"] | None] = None
    stream: Only[Literal[False] | None] = None
    style: Only[Literal["vivid", "natural"] | None] = None
    svg: NotServed = None
