"""Parameters of `conditional_gan`: square images, grey or colour, with or without labels."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from shared.errors import Invalid
from shared.family import Family, GenerationParams, TrainingParams
from shared.states import Modality

Weight = Annotated[float, Field(ge=0, le=1e6)]
"""Of one label in a mix."""


class ImageParams(GenerationParams):
    """One request for images. `label` names a label or a mix such as `{"3": 0.5, "8": 0.5}`."""

    label: str | dict[str, Weight] | None = Field(
        None,
        description="A label of the model, or weights of several; absent: one drawn per image.",
    )
    truncation: float = Field(
        0.8,
        gt=0,
        le=1.5,
        description="Scale of the latent: 1 as varied as the training's pictures, less cleaner.",
    )
    grid: int | None = Field(
        None, ge=1, le=16, description="One image instead: a row per label, this many columns."
    )

    @field_validator("label")
    @classmethod
    def _some_weight(cls, label: str | dict[str, float] | None) -> str | dict[str, float] | None:
        if isinstance(label, dict) and sum(label.values()) <= 0:
            raise ValueError("a mix needs one weight above 0")
        return label

    @field_validator("grid")
    @classmethod
    def _alone(cls, grid: int | None, others: ValidationInfo) -> int | None:
        is_alone = others.data.get("n", 1) == 1 and others.data.get("label") is None
        if grid is not None and not is_alone:
            raise ValueError("a labelled grid shows every label once; leave out n and label")
        return grid

    def check(self, config: Mapping[str, Any]) -> None:
        known = config.get("labels") or []
        asked = [self.label] if isinstance(self.label, str) else list(self.label or ())
        for label in asked:
            if label not in known:
                shown = ", ".join(known[:20]) or "none: this model has no labels"
                raise Invalid(
                    f"label: {label!r} is not a label of this model ({shown})", param="label"
                )


class ImageTraining(TrainingParams):
    """Training from an image data set."""

    gamma: float = Field(4.0, gt=0, description="Weight of the R1 and R2 gradient penalties.")
    width: int = Field(
        96, ge=16, le=512, description="Channels at the generator's lowest resolution."
    )
    latent: int = Field(64, ge=8, le=512, description="Length of the latent vector z.")
    augment: Literal["auto", "none", "shift", "colour"] = Field(
        "auto",
        description="What the discriminator sees: `shift` moves by a few pixels, `colour` adds "
        "colour jitter, cut-out and mirroring; `auto` is `shift` for grey and `colour` for "
        "colour images.",
    )


FAMILY = Family(
    name="conditional_gan",
    modality=Modality.IMAGE,
    summary="A GAN for square images of 16, 28, 32, 64 or 128 pixels, with optional labels.",
    generation=ImageParams,
    training=ImageTraining,
    implementation="worker.image.conditional_gan.family:ConditionalGan",
)
