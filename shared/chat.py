"""Conversations as text, for models that bring no chat template of their own.

A turn is a line `role: content`; the reply follows `assistant:` and ends where another turn begins.
Trainings on conversations and chat completions use the same template.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from shared.neutral import Ignored, Nothing, NotServed, Only, not_served

ROLES = ("system", "user", "assistant")

STOPS = tuple(f"\n{role}:" for role in ROLES)
"""Texts that begin another turn."""

_OTHER_PARTS = ("image_url", "input_audio", "file", "refusal")


class TextContent(BaseModel, extra="forbid", strict=True):
    """A part of a message."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: Ignored[dict[str, Any]] = Field(None, exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _text_alone(cls, part: Any) -> Any:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in _OTHER_PARTS:
            raise not_served(f"a part of type {kind!r} is not served here; use 'text'")
        return part


class Message(BaseModel, extra="forbid", strict=True):
    """One turn. Of what a reply carries beside its text, what says nothing is taken."""

    role: Only[Literal["system", "developer", "user", "assistant"]] = Field(
        description="`developer` is the same as `system`."
    )
    content: str | list[TextContent] = Field(description="A text, or parts of one.")
    name: Ignored[str] = Field(None, exclude=True)
    refusal: Only[Literal[""] | None] = Field(None, exclude=True)
    annotations: Only[Nothing | None] = Field(None, exclude=True)
    tool_calls: Only[Nothing | None] = Field(None, exclude=True)
    function_call: NotServed = Field(None, exclude=True)
    audio: NotServed = Field(None, exclude=True)
    tool_call_id: NotServed = Field(None, exclude=True)

    @field_validator("role")
    @classmethod
    def _known_to_templates(cls, role: str) -> str:
        return "system" if role == "developer" else role


def content_of(message: Mapping[str, Any]) -> str:
    """A message's text, whether it comes whole or in parts."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def render(messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool) -> str:
    """The conversation as text; with a prompt for the next reply at its end, if asked for."""
    turns = "".join(f"{message['role']}: {content_of(message)}\n" for message in messages)
    return f"{turns}assistant:" if add_generation_prompt else turns


def is_rendered(text: str) -> bool:
    """Whether a text begins as a conversation does in this template."""
    return text.startswith(tuple(f"{role}: " for role in ROLES))
