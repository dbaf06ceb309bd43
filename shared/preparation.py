"""What may be asked of a preparation: options that the API checks and a worker runs with."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.errors import Invalid
from shared.states import Modality

Size = Literal[16, 28, 32, 64, 128]
SIZES: tuple[Size, ...] = (16, 28, 32, 64, 128)
"""Sides of a prepared image in pixels."""


class Options(BaseModel):
    """What every preparation takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    deduplicate: bool = Field(
        True,
        description="Drop exact and near duplicates. Near ones are looked for among images of at "
        "least 64 pixels a side and documents of at least 100 characters; smaller must be equal.",
    )
    validation: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share for validation. An example's content alone decides where it goes, so "
        "shares are met on average and adding examples never moves one.",
    )
    test: float = Field(
        0.1, ge=0, le=1, description="Share for the final test; 1 for a set that only measures."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.validation + self.test > 1:
            raise ValueError("validation: with `test` it must not exceed 1")
        return self


class ImageOptions(Options):
    """Square images, grey or colour. Labels come from `labels.csv`, or else from folder names."""

    size: Size | None = Field(
        32,
        description="Side in pixels; null takes the largest supported size that is not above the "
        "median of the images' shorter sides.",
    )
    mode: Literal["grey", "colour", "auto"] = Field(
        "auto", description="`auto` is grey when no image has any colour."
    )
    policy: Literal["crop", "pad", "stretch"] = Field(
        "crop",
        description="How an image becomes square: `crop` keeps its centre, `pad` adds white "
        "borders, `stretch` changes its proportions.",
    )


class TextOptions(Options):
    """Documents of Unicode text, from tables (JSONL, CSV, Parquet) and plain files.

    A line of JSONL without the column may be an example to imitate: `messages` of a chat, or
    `prompt` and `completion`. Of these, models learn the answers alone.
    """

    column: str = Field("text", min_length=1, description="The tables' column with the text.")
    label_column: str | None = Field(
        None, min_length=1, description="The tables' column with a label; absent: no labels."
    )

    @model_validator(mode="after")
    def _two_columns(self) -> Self:
        if self.label_column == self.column:
            raise ValueError("label_column: must name another column than `column`")
        return self


class JudgedOutputs(BaseModel):
    """Outputs to make a data set from: those that stand approved, or rejected, when it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    verdict: Literal["approved", "rejected"] = "approved"
    model: str | None = Field(None, description="Only of this model: its name, or `name@version`.")
    job: str | None = Field(None, description="Only of this job.")


def options_for(modality: Modality) -> type[ImageOptions] | type[TextOptions]:
    """The options of this modality. Raises Invalid where no data set of it can be prepared."""
    if modality == Modality.IMAGE:
        return ImageOptions
    if modality == Modality.TEXT:
        return TextOptions
    raise Invalid(
        f"modality: data sets of {modality} cannot be prepared; use image or text", param="modality"
    )
