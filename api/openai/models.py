"""Models, in the shape of the OpenAI API: the names that a client may put into `model`."""

from typing import Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel

from api.auth import caller, needs
from api.times import seconds
from shared.db import reading
from shared.services import models
from shared.services.pages import Cursor
from shared.states import Scope
from shared.tables.model import Model

blueprint = APIBlueprint(
    "openai_models",
    __name__,
    url_prefix="/v1/models",
    abp_tags=[Tag(name="models")],
    abp_security=[{"key": []}],
)

_MOST = 1000


class OpenAiModelAnswer(BaseModel):
    """A model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class OpenAiModelsAnswer(BaseModel):
    """All models; this list has no pages."""

    object: Literal["list"] = "list"
    data: list[OpenAiModelAnswer]


class OpenAiModelPath(BaseModel):
    """Which model."""

    id: str


def show_model(model: Model) -> OpenAiModelAnswer:
    """A model as its answer."""
    return OpenAiModelAnswer(id=model.name, created=seconds(model.created_at), owned_by="tenant")


@blueprint.get("", responses={200: OpenAiModelsAnswer}, summary="List models")
@needs(Scope.READ, Scope.GENERATE)
def list_openai_models() -> Response:
    with reading() as session:
        found = models.list_models(session, caller().tenant_id, Cursor(limit=_MOST))
    data = [show_model(model) for model in found.rows]
    return jsonify(OpenAiModelsAnswer(data=data).model_dump(mode="json"))


@blueprint.get("/<string:id>", responses={200: OpenAiModelAnswer}, summary="Look at a model")
@needs(Scope.READ, Scope.GENERATE)
def get_openai_model(path: OpenAiModelPath) -> Response:
    with reading() as session:
        model = models.get(session, caller().tenant_id, path.id)
    return jsonify(show_model(model).model_dump(mode="json"))
