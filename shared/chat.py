"""Conversations as text, for models that bring no chat template of their own.

A turn is a line `role: content`; the reply follows `assistant:` and ends where another turn begins.
Trainings on conversations and chat completions use the same template.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

ROLES = ("system", "user", "assistant")

STOPS = tuple(f"\n{role}:" for role in ROLES)
"""Texts that begin another turn."""


class TextContent(BaseModel, extra="forbid", strict=True):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(BaseModel, extra="forbid", strict=True):
    """One turn."""

    role: Literal["system", "user", "assistant"]
    content: str | list[TextContent] = Field(description="A text, or parts of one.")


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
