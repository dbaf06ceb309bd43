"""Models, in the shape of the OpenAI API: the names that a client may put into `model`."""

from typing import Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.auth import caller, needs
from api.openai.files import DeletedAnswer
from api.pagination import ListAnswer, answer_list
from api.times import seconds
from shared.db import reading, transaction
from shared.errors import Invalid
from shared.services import model_deletion, models
from shared.services.models import ModelNotFound
from shared.services.pages import Page
from shared.states import Scope
from shared.storage import remove
from shared.tables.model import Model, ModelVersion

blueprint = APIBlueprint(
    "openai_models",
    __name__,
    url_prefix="/v1/models",
    abp_tags=[
        Tag(
            name="models",
            description="What can be asked to generate: names, versions, the one that answers.",
        )
    ],
    abp_security=[{"key": []}],
)


class OpenAiModelAnswer(BaseModel):
    """A model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class OpenAiModelPath(BaseModel):
    """Which model."""

    id: str


def show_model(model: Model) -> OpenAiModelAnswer:
    """A model as its answer."""
    return OpenAiModelAnswer(id=model.name, created=seconds(model.created_at), owned_by="tenant")


# Without pages: OpenAI's clients take the first for the whole list.
@blueprint.get("", responses={200: ListAnswer[OpenAiModelAnswer]}, summary="List all models")
@needs(Scope.READ, Scope.GENERATE)
def list_openai_models() -> Response:
    with reading() as session:
        found = models.models_of(session, caller().tenant_id)
    return answer_list(Page(found, has_more=False), show_model)


# Whatever a client takes for a name: `@` stands before a version, and `/` in no name of ours.
@blueprint.get("/<path:id>", responses={200: OpenAiModelAnswer}, summary="Look at a model")
@needs(Scope.READ, Scope.GENERATE)
def get_openai_model(path: OpenAiModelPath) -> Response:
    with reading() as session:
        model, version = _named(session, path.id)
    created = version.created_at if "@" in path.id else model.created_at
    answer = OpenAiModelAnswer(id=path.id, created=seconds(created), owned_by="tenant")
    return jsonify(answer.model_dump(mode="json"))


def _named(session: Session, id_: str) -> tuple[Model, ModelVersion]:
    try:
        return models.resolve(session, caller().tenant_id, id_)
    except Invalid:  # no version stands after the `@`
        raise ModelNotFound(f"No model {id_!r}.") from None


@blueprint.delete("/<path:id>", responses={200: DeletedAnswer}, summary="Delete a trained model")
@needs(Scope.TRAIN)
def delete_openai_model(path: OpenAiModelPath) -> Response:
    with transaction() as session:
        prefixes = model_deletion.delete(session, caller().tenant_id, path.id)
    for prefix in prefixes:
        remove(prefix)
    return jsonify(DeletedAnswer(id=path.id, object="model").model_dump())
