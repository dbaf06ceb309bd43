"""Examples to imitate: a prompt with its completion, or a chat; only the answers are learnt."""

from collections.abc import Mapping
from typing import Any

from shared.chat import ROLES, Message, render
from worker.dataset import Example, Span
from worker.preparation.characters import tidy
from worker.preparation.files import Unreadable

_TAKEN = frozenset({"role", "content", "weight", "name"})
"""Of a message; `name` is left out of what is learnt."""


def example_of(row: Mapping[str, Any]) -> Example | None:
    """The example in a table's row; None where there is none. Raises Unreadable naming the field.

    The fields are those of OpenAI's files: `messages`, or `prompt` and `completion`. An
    assistant's message of `weight` 0 is read and not learnt.
    """
    if "messages" in row:
        return _chat(row["messages"])
    if "prompt" in row and "completion" in row:
        return _completion(_text(row["prompt"], "prompt"), _text(row["completion"], "completion"))
    return None


def _completion(prompt: str, completion: str) -> Example:
    if not completion.strip():
        raise Unreadable("'completion' is empty")
    text = prompt + completion
    return Example(text, ((len(prompt), len(text)),))


def _chat(messages: Any) -> Example:
    if not isinstance(messages, list) or not messages:
        raise Unreadable("'messages' is not a list of messages")
    text = ""
    learnt: list[Span] = []
    for position, message in enumerate(messages):
        role, content, weight = _message(message, f"messages[{position}]")
        begins_at = len(text) + len(render([], add_generation_prompt=True))
        text += render([{"role": role, "content": content}], add_generation_prompt=False)
        if role == "assistant" and weight:
            learnt.append((begins_at, len(text)))
    if not learnt:
        raise Unreadable("'messages' has nothing of the assistant's to learn")
    return Example(text, tuple(learnt))


def _message(message: Any, where: str) -> tuple[str, str, int]:
    """Role, content and weight."""
    if not isinstance(message, dict):
        raise Unreadable(f"{where} is not an object")
    for name in sorted(set(message) - _TAKEN):
        says_nothing = name in Message.model_fields and not message[name]
        if not says_nothing:
            raise Unreadable(f"{where} has {name!r}, which cannot be learnt")
    role, weight = message.get("role"), message.get("weight", 1)
    if role == "developer":
        role = "system"
    if role not in ROLES:
        raise Unreadable(f"{where}.role is not one of {', '.join(ROLES)}")
    if weight not in (0, 1):
        raise Unreadable(f"{where}.weight is not 0 or 1")
    return role, _content(message.get("content"), f"{where}.content"), weight


def _content(content: Any, where: str) -> str:
    """A content's text: a string, or parts of type `text`."""
    if not isinstance(content, list):
        return _text(content, where)
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text":
            raise Unreadable(f"{where} has a part that is no text")
    return "".join(_text(part.get("text"), where) for part in content)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"{where!r} is not text")
    return tidy(value)
