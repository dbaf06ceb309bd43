"""`/v1/chat/completions`: the next turn of a conversation, by a text model."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared import neutral
from shared.chat import Message
from shared.endpoint import Delta, Endpoint, Made
from shared.endpoints.sampling import SamplingBody, Usage, usage
from shared.errors import Invalid
from shared.states import Modality

_DEFAULT_TOKENS = 256
_ITS_NAME_OF_TOKENS = {"max_tokens": "max_completion_tokens"}


class ResponseFormat(BaseModel, extra="forbid", strict=True):
    """The form of the reply; only plain text is served."""

    type: neutral.Only[Literal["text"]]
    json_schema: neutral.NotServed = None


class ChatBody(neutral.OfChat, SamplingBody):
    """A conversation to continue."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "stories",
                    "messages": [{"role": "user", "content": "Tell me of a cat."}],
                    "max_tokens": 64,
                    "seed": 1,
                },
            ]
        }
    )

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None

    def params(self, config: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self.top_logprobs is not None and not self.logprobs:
            raise Invalid("top_logprobs: needs logprobs to be true", param="top_logprobs")
        messages = [message.model_dump(mode="json") for message in self.messages]
        params = {"messages": messages, **self.sampling(), "max_tokens": self._most_tokens(config)}
        if self.logprobs:
            params["logprobs"] = self.top_logprobs or 0
        return [params]

    def names(self, seq: int) -> Mapping[str, str]:
        return {} if self.max_completion_tokens is None else _ITS_NAME_OF_TOKENS

    def _most_tokens(self, config: Mapping[str, Any]) -> int:
        given = [n for n in (self.max_tokens, self.max_completion_tokens) if n is not None]
        if len(given) == 2:
            raise Invalid(
                "max_tokens: give it or max_completion_tokens, not both", param="max_tokens"
            )
        if given:
            return given[0]
        context = config.get("max_position_embeddings") or config.get("n_positions")
        return _DEFAULT_TOKENS if context is None else min(_DEFAULT_TOKENS, max(1, context // 2))


class Reply(BaseModel):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """One reply."""

    index: int
    message: Reply
    logprobs: dict[str, Any] | None
    finish_reason: str


class ChatCompletion(BaseModel):
    """Replies."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


def answer(made: Made) -> dict[str, Any]:
    """The answer's JSON."""
    choices = [
        ChatChoice(
            index=output.index,
            message=Reply(content=_reply(made.content(output).decode())),
            logprobs=_logprobs(output.facts.get("logprobs")),
            finish_reason=output.facts["finish_reason"],
        )
        for output in made.outputs
    ]
    completion = ChatCompletion(
        id=made.id,
        created=made.created,
        model=made.model,
        choices=choices,
        usage=usage(made.outputs),
    )
    return completion.model_dump(mode="json")


def _reply(text: str) -> str:
    """A reply without the space that the plain template leaves between role and text."""
    return text.removeprefix(" ")


def chunk(delta: Delta) -> dict[str, Any]:
    """A choice within a chunk of a streamed answer."""
    told: dict[str, Any] = {}
    if delta.finish_reason is None:
        told["content"] = _reply(delta.text) if delta.start == 0 else delta.text
    if delta.start == 0:
        told["role"] = "assistant"
    return {
        "index": delta.choice,
        "delta": told,
        "logprobs": _logprobs(delta.logprobs),
        "finish_reason": delta.finish_reason,
    }


def _logprobs(lists: dict[str, Any] | None) -> dict[str, Any] | None:
    """From the lists of completions to an entry per token."""
    if lists is None:
        return None
    columns = (lists["tokens"], lists["token_logprobs"], lists["top_logprobs"])
    return {
        "content": [
            _entry(token, logprob)
            | {"top_logprobs": [_entry(other, value) for other, value in _likeliest_first(top)]}
            for token, logprob, top in zip(*columns, strict=True)
        ],
        "refusal": None,
    }


def _likeliest_first(top: dict[str, float]) -> list[tuple[str, float]]:
    # Postgres keeps no order of an object's names.
    return sorted(top.items(), key=lambda pair: (-pair[1], pair[0]))


def _entry(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


ENDPOINT = Endpoint(
    "/v1/chat/completions", Modality.TEXT, ChatBody, answer, chunk, "chat.completion.chunk"
)
