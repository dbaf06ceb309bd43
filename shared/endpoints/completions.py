"""`/v1/completions`: prompts continued by a text model."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared import neutral
from shared.endpoint import Delta, Endpoint, Made
from shared.endpoints.sampling import SamplingBody, Usage, usage
from shared.errors import Invalid
from shared.states import Modality

_DEFAULT_TOKENS = 16
_MOST_PROMPTS = 16


class CompletionBody(neutral.OfCompletions, SamplingBody):
    """Prompts to continue."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "stories", "prompt": "Once upon a time", "max_tokens": 64, "seed": 1},
            ]
        }
    )

    prompt: str | list[str] | None = Field(
        None, description="One prompt, or up to 16; absent: an empty one."
    )
    logprobs: int | None = Field(None, ge=0, le=5)
    echo: bool | None = None

    def params(self, config: Mapping[str, Any]) -> list[dict[str, Any]]:
        prompts = self._prompts()
        if not 0 < len(prompts) <= _MOST_PROMPTS:
            raise Invalid(f"prompt: give 1 to {_MOST_PROMPTS} prompts", param="prompt")
        common = self.sampling("logprobs")
        common["max_tokens"] = _DEFAULT_TOKENS if self.max_tokens is None else self.max_tokens
        return [{"prompt": prompt, **common} for prompt in prompts]

    def _prompts(self) -> list[str]:
        return self.prompt if isinstance(self.prompt, list) else [self.prompt or ""]

    def names(self, seq: int) -> Mapping[str, str]:
        return {"prompt": f"prompt[{seq}]"} if isinstance(self.prompt, list) else {}

    def lead(self, seq: int) -> str:
        return self._prompts()[seq] if self.echo else ""

    def form(self) -> dict[str, Any]:
        return {"echo": True} if self.echo else {}


class Choice(BaseModel):
    """One continuation."""

    text: str
    index: int
    logprobs: dict[str, Any] | None
    finish_reason: str


class Completion(BaseModel):
    """Continuations."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


def answer(made: Made) -> dict[str, Any]:
    """The answer's JSON."""
    choices: list[Choice] = []
    for item, outputs in made.items:
        echoed = item.params["prompt"] if made.form.get("echo") else ""
        for output in outputs:
            choice = Choice(
                text=echoed + made.content(output).decode(),
                index=len(choices),
                logprobs=_behind(echoed, output.facts.get("logprobs")),
                finish_reason=output.facts["finish_reason"],
            )
            choices.append(choice)
    completion = Completion(
        id=made.id,
        created=made.created,
        model=made.model,
        choices=choices,
        usage=usage(made.outputs),
    )
    return completion.model_dump(mode="json")


def chunk(delta: Delta) -> dict[str, Any]:
    """A choice within a chunk of a streamed answer."""
    return {
        "text": delta.lead + delta.text if delta.start == 0 else delta.text,
        "index": delta.choice,
        "logprobs": _behind(delta.lead, delta.logprobs),
        "finish_reason": delta.finish_reason,
    }


def _behind(lead: str, logprobs: dict[str, Any] | None) -> dict[str, Any] | None:
    """Log-probabilities with offsets into a text that begins with more than the model wrote."""
    if logprobs is None or not lead:
        return logprobs
    return logprobs | {"text_offset": [len(lead) + offset for offset in logprobs["text_offset"]]}


ENDPOINT = Endpoint(
    "/v1/completions", Modality.TEXT, CompletionBody, answer, chunk, "text_completion"
)
