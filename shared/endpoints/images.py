"""`/v1/images/generations`: pictures from an image model."""

import base64
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared import neutral
from shared.endpoint import Endpoint, EndpointBody, Made, Seed
from shared.errors import Invalid
from shared.states import Modality
from shared.tables.output import Output


class ImagesBody(neutral.OfImages, EndpointBody):
    """Pictures to make."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "digits",
                    "prompt": "7",
                    "n": 4,
                    "seed": 1,
                    "response_format": "b64_json",
                },
            ]
        }
    )

    prompt: str | None = Field(
        None, description="A label of the model, when `label` is absent; empty: any label."
    )
    n: int | None = None
    size: str | None = Field(None, description="`auto`, or the model's own, as in `28x28`.")
    response_format: Literal["url", "b64_json"] | None = Field(None, description="Default `url`.")
    label: str | dict[str, float] | None = Field(
        None, description="A label, or weights of several."
    )
    seed: Seed | None = None
    truncation: float | None = None
    grid: int | None = None

    def params(self, config: Mapping[str, Any]) -> list[dict[str, Any]]:
        made = config.get("size")
        if self.size not in {None, "auto", f"{made}x{made}"}:
            raise Invalid(
                f"size: this model makes {made}x{made}; use that, or `auto`", param="size"
            )
        given = {
            "label": self.label if self.label is not None else self.prompt or None,
            "seed": self.seed,
            "truncation": self.truncation,
            "grid": self.grid,
            "n": self.n,
        }
        return [{name: value for name, value in given.items() if value is not None}]

    def names(self, seq: int) -> Mapping[str, str]:
        return {"label": "prompt"} if self.label is None else {}

    def form(self) -> dict[str, Any]:
        return {"b64_json": True} if self.response_format == "b64_json" else {}


class ImageDatum(BaseModel):
    """One picture."""

    url: str | None = Field(
        None, description="Leads to the picture without a key: for 24 hours, in a batch for 7 days."
    )
    b64_json: str | None = None
    output: str = Field(description="The output's id in the native API.")
    seed: int


class Images(BaseModel):
    """Pictures."""

    created: int
    data: list[ImageDatum]


def answer(made: Made) -> dict[str, Any]:
    """The answer's JSON."""
    data = [_datum(made, output) for output in made.outputs]
    return Images(created=made.created, data=data).model_dump(mode="json", exclude_none=True)


def _datum(made: Made, output: Output) -> ImageDatum:
    if made.form.get("b64_json"):
        encoded = base64.b64encode(made.content(output)).decode()
        return ImageDatum(b64_json=encoded, output=output.id, seed=output.seed)
    return ImageDatum(url=made.url(output), output=output.id, seed=output.seed)


ENDPOINT = Endpoint("/v1/images/generations", Modality.IMAGE, ImagesBody, answer)
