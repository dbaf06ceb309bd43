"""Completions, in the shape of the OpenAI API: prompts continued by a text model, waited for."""

from typing import Any, Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

from api.auth import needs
from api.openai import waiting
from api.requests import require_json
from api.times import seconds
from shared.errors import Invalid
from shared.states import Modality, Scope
from shared.storage import read
from shared.tables.output import Output

blueprint = APIBlueprint(
    "completions",
    __name__,
    url_prefix="/v1/completions",
    abp_tags=[Tag(name="completions")],
    abp_security=[{"key": []}],
)

_DEFAULT_TOKENS = 16


class CompletionBody(BaseModel):
    """Prompts to continue."""

    model_config = ConfigDict(extra="forbid")

    model: str
    prompt: str | list[str] = Field("", description="One prompt, or up to 16.")
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    logprobs: int | None = None
    echo: bool = False
    stream: Literal[False] | None = Field(None, description="Not served yet.")
    user: str | None = Field(None, description="Accepted; changes nothing.")


class Choice(BaseModel):
    """One continuation."""

    text: str
    index: int
    logprobs: dict[str, Any] | None
    finish_reason: str


class Usage(BaseModel):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionAnswer(BaseModel):
    """Continuations."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


@blueprint.post("", responses={200: CompletionAnswer}, summary="Continue prompts")
@needs(Scope.GENERATE)
def create_completion(body: CompletionBody) -> Response:
    require_json()
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    if not 0 < len(prompts) <= 16:
        raise Invalid("prompt: give 1 to 16 prompts", param="prompt")
    found = waiting.run(body.model, Modality.TEXT, [_params(body, prompt) for prompt in prompts])
    if isinstance(found, Response):
        return found
    job, made = found
    choices = [
        _choice(index, output, prompts[item.seq] if body.echo else "")
        for index, (item, output) in enumerate(made)
    ]
    answer = CompletionAnswer(
        id=job.id,
        created=seconds(job.created_at),
        model=made[0][1].provenance["model"],
        choices=choices,
        usage=_usage([output for _, output in made]),
    )
    return jsonify(answer.model_dump(mode="json"))


def _params(body: CompletionBody, prompt: str) -> dict[str, Any]:
    names = ("max_tokens", "temperature", "top_p", "n", "stop", "seed", "logprobs")
    given = {name: getattr(body, name) for name in names if getattr(body, name) is not None}
    return {"prompt": prompt, "max_tokens": _DEFAULT_TOKENS, **given}


def _choice(index: int, output: Output, echoed: str) -> Choice:
    text = read(output.key).decode()
    facts = output.facts
    return Choice(
        text=echoed + text,
        index=index,
        logprobs=facts.get("logprobs"),
        finish_reason=facts["finish_reason"],
    )


def _usage(made: list[Output]) -> Usage:
    # A prompt is read once, however many continuations it has.
    read = sum(output.facts["prompt_tokens"] for output in made if output.index == 0)
    written = sum(output.facts["completion_tokens"] for output in made)
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)
