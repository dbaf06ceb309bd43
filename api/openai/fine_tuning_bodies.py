"""What `/v1/fine_tuning/jobs` takes: a model, a file, and a method with its hyperparameters; and
which of them a list is to hold.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from api.pagination import JobId, ListQuery
from api.routes.submissions import Metadata
from shared.errors import Invalid


def _auto(schema: dict[str, Any]) -> list[Any]:
    """What lets a field be `auto` too, which is the same as leaving it out."""
    shown = {"anyOf": [schema, {"const": "auto"}, {"type": "null"}]}
    return [
        BeforeValidator(lambda value: None if value == "auto" else value),
        WithJsonSchema(shown),
    ]


class Hyperparameters(BaseModel):
    """OpenAI's three, and any parameter of the family's training; see `/api/v1/families`."""

    model_config = ConfigDict(extra="allow", strict=True)

    n_epochs: Annotated[
        int | None,
        Field(ge=1, le=10_000),
        *_auto({"type": "integer", "minimum": 1, "maximum": 10_000}),
    ] = Field(None, description="Passes over the training split; `max_seconds` ends them sooner.")
    batch_size: Annotated[int | None, Field(ge=1), *_auto({"type": "integer", "minimum": 1})] = None
    learning_rate_multiplier: Annotated[
        float | None,
        Field(gt=0),
        *_auto({"type": "number", "exclusiveMinimum": 0}),
    ] = Field(None, description="Of the family's own learning rate.")


class MethodSettings(BaseModel):
    """How a method is to train."""

    model_config = ConfigDict(extra="forbid", strict=True)

    hyperparameters: Hyperparameters = Hyperparameters()


class Method(BaseModel):
    """The way of training, with its settings under its own name."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["supervised", "gan"] = Field(description="Text families, image families.")
    supervised: MethodSettings | None = None
    gan: MethodSettings | None = None


class FineTuningJobBody(BaseModel):
    """A training to accept."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "model": "causal_lm",
                    "training_file": "file-01k9z3n6vq0c8t2w5h7m4r1xjc",
                    "suffix": "shop",
                    "method": {
                        "type": "supervised",
                        "supervised": {"hyperparameters": {"n_epochs": 3}},
                    },
                },
                {
                    "model": "conditional_gan",
                    "training_file": "digits",
                    "method": {"type": "gan", "gan": {"hyperparameters": {"max_seconds": 120}}},
                },
            ]
        },
    )

    model: str = Field(
        description="A family, as `causal_lm`, to start from nothing; or a model to go on from."
    )
    training_file: str = Field(
        description="A file of purpose `fine-tune`, or the name of a prepared data set."
    )
    method: Method | None = None
    hyperparameters: Hyperparameters | None = Field(None, description="Those of `method`, before.")
    suffix: str | None = Field(None, description="A part of the new model's name.")
    seed: int | None = Field(None, ge=0, lt=2**32)
    metadata: Metadata | None = None
    validation_file: str | None = Field(
        None,
        description="For text: what to measure on while it trains, as `training_file`; absent: a "
        "part of the data set, which is held back.",
    )
    integrations: Annotated[list[Any], Field(max_length=0)] | None = None

    def chosen(self) -> tuple[tuple[str, ...], Hyperparameters]:
        """Where the hyperparameters stand, and what they are. Raises Invalid when unclear."""
        method = self.method
        if method is None:
            return ("hyperparameters",), self.hyperparameters or Hyperparameters()
        if self.hyperparameters is not None:
            raise Invalid("hyperparameters: they belong into method", param="hyperparameters")
        other = "gan" if method.type == "supervised" else "supervised"
        if getattr(method, other) is not None:
            raise Invalid(f"method.{other}: the method is {method.type}", param=f"method.{other}")
        settings: MethodSettings = getattr(method, method.type) or MethodSettings()
        return ("method", method.type, "hyperparameters"), settings.hyperparameters


_PAIR = re.compile(r"metadata\[(.*)\]", re.DOTALL)


class TuningsQuery(ListQuery[JobId]):
    """Which trainings."""

    metadata: Metadata | None = Field(
        None, description="`metadata[name]=value`: whose metadata has each of these."
    )

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, sent: dict[str, Any]) -> dict[str, Any]:
        """In an address an object is a field for each of its names."""
        pairs = {pair[1]: sent[field] for field in sent if (pair := _PAIR.fullmatch(field))}
        others = {field: value for field, value in sent.items() if not _PAIR.fullmatch(field)}
        return others | {"metadata": pairs} if pairs else others
