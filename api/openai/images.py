"""Image generation, in the shape of the OpenAI API: pictures from an image model, waited for."""

import base64
from typing import Any, Literal

from flask import Response, jsonify, request
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

from api.auth import needs
from api.openai import waiting
from api.requests import require_json
from api.times import seconds
from shared.errors import Invalid
from shared.settings import settings
from shared.states import Modality, Scope
from shared.storage import read
from shared.tables.model import ModelVersion
from shared.tables.output import Output

blueprint = APIBlueprint(
    "images",
    __name__,
    url_prefix="/v1/images",
    abp_tags=[Tag(name="images")],
    abp_security=[{"key": []}],
)


class ImagesBody(BaseModel):
    """Pictures to make."""

    model_config = ConfigDict(extra="forbid")

    model: str
    prompt: str | None = Field(
        None, description="A label of the model, when `label` is absent; empty: any label."
    )
    n: int = 1
    size: str | None = Field(None, description="`auto`, or the model's own, as in `28x28`.")
    response_format: Literal["url", "b64_json"] = "url"
    label: str | dict[str, float] | None = Field(
        None, description="A label, or weights of several."
    )
    seed: int | None = None
    truncation: float | None = None
    grid: int | None = None
    user: str | None = Field(None, description="Accepted; changes nothing.")


class ImageDatum(BaseModel):
    """One picture."""

    url: str | None = None
    b64_json: str | None = None
    output: str = Field(description="The output's id in the native API.")
    seed: int


class ImagesAnswer(BaseModel):
    """Pictures."""

    created: int
    data: list[ImageDatum]


@blueprint.post("/generations", responses={200: ImagesAnswer}, summary="Make pictures")
@needs(Scope.GENERATE)
def create_images(body: ImagesBody) -> Response:
    require_json()

    def check(version: ModelVersion) -> None:
        _check_size(body.size, version.config.get("size"))

    found = waiting.run(body.model, Modality.IMAGE, [_params(body)], check)
    if isinstance(found, Response):
        return found
    job, made = found
    data = [_datum(output, body.response_format) for _, output in made]
    answer = ImagesAnswer(created=seconds(job.created_at), data=data)
    return jsonify(answer.model_dump(mode="json", exclude_none=True))


def _params(body: ImagesBody) -> dict[str, Any]:
    label = body.label if body.label is not None else body.prompt or None
    given = {"label": label, "seed": body.seed, "truncation": body.truncation, "grid": body.grid}
    return {"n": body.n, **{name: value for name, value in given.items() if value is not None}}


def _check_size(asked: str | None, made: int | None) -> None:
    """Raises Invalid for another size than the model makes."""
    if asked not in {None, "auto", f"{made}x{made}"}:
        raise Invalid(f"size: this model makes {made}x{made}; use that, or `auto`", param="size")


def _datum(output: Output, format_: str) -> ImageDatum:
    if format_ == "b64_json":
        encoded = base64.b64encode(read(output.key)).decode()
        return ImageDatum(b64_json=encoded, output=output.id, seed=output.seed)
    base = settings().public_url or request.host_url.rstrip("/")
    url = f"{base}/api/v1/outputs/{output.id}/content"
    return ImageDatum(url=url, output=output.id, seed=output.seed)
