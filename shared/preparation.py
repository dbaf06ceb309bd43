"""Options of data set preparation."""

from pydantic import BaseModel, ConfigDict

from shared.states import Modality


class ImageOptions(BaseModel):
    """Provisional."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def options_for(modality: Modality) -> type[BaseModel]:
    return ImageOptions
