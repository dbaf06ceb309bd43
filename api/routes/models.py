"""Models: names, their versions with cards, and which version answers."""

from typing import Any, Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from api.auth import caller, needs
from api.pagination import ListAnswer, ModelId, PeriodQuery, answer_list
from api.requests import require_json
from api.times import seconds
from shared.db import reading, transaction
from shared.services import models
from shared.states import Modality, Scope
from shared.tables.model import Model, ModelVersion

blueprint = APIBlueprint(
    "models",
    __name__,
    url_prefix="/api/v1/models",
    abp_tags=[Tag(name="models")],
    abp_security=[{"key": []}],
)


class VersionAnswer(BaseModel):
    """One set of weights, with its card."""

    id: str
    object: Literal["model_version"] = "model_version"
    version: int
    weights_hash: str
    config: dict[str, Any]
    card: dict[str, Any]
    job: str | None = Field(description="The training job that made it; none when imported.")
    created_at: int


class ModelAnswer(BaseModel):
    """A model."""

    id: str
    object: Literal["model"] = "model"
    name: str
    family: str
    modality: Modality
    promoted_version: int = Field(description="The version that answers to the name alone.")
    created_at: int


class ModelDetail(ModelAnswer):
    """A model with its versions, newest first."""

    versions: list[VersionAnswer]


class ModelPath(BaseModel):
    """Which model."""

    name: str


class PromoteBody(BaseModel):
    """Which version should answer."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"version": 1},
            ]
        },
    )

    version: int = Field(ge=1)


def _fields(model: Model) -> dict[str, Any]:
    names = ("id", "name", "family", "modality", "promoted_version")
    return {name: getattr(model, name) for name in names} | {
        "created_at": seconds(model.created_at)
    }


def show_model(model: Model) -> ModelAnswer:
    """A model as its answer in lists."""
    return ModelAnswer(**_fields(model))


def show_version(version: ModelVersion) -> VersionAnswer:
    """A version as its answer."""
    return VersionAnswer(
        id=version.id,
        version=version.version,
        weights_hash=version.weights_hash,
        config=version.config,
        card=version.card,
        job=version.job_id,
        created_at=seconds(version.created_at),
    )


def _detail(session: Session, model: Model) -> Response:
    versions = [show_version(version) for version in models.versions_of(session, model)]
    return jsonify(ModelDetail(**_fields(model), versions=versions).model_dump(mode="json"))


class ModelsQuery(PeriodQuery[ModelId]):
    """Which models."""

    family: str | None = None
    modality: Modality | None = None


@blueprint.get("", responses={200: ListAnswer[ModelAnswer]}, summary="List models")
@needs(Scope.READ)
def list_models(query: ModelsQuery) -> Response:
    only = models.Filter(query.family, query.modality, query.period())
    with reading() as session:
        found = models.list_models(session, caller().tenant_id, query.cursor(), only)
        return answer_list(found, show_model)


@blueprint.get("/<string:name>", responses={200: ModelDetail}, summary="Look at a model")
@needs(Scope.READ)
def get_model(path: ModelPath) -> Response:
    with reading() as session:
        return _detail(session, models.get(session, caller().tenant_id, path.name))


@blueprint.post(
    "/<string:name>/promote", responses={200: ModelDetail}, summary="Choose its version"
)
@needs(Scope.ADMIN)
def promote_model(path: ModelPath, body: PromoteBody) -> Response:
    require_json()
    with transaction() as session:
        model = models.get(session, caller().tenant_id, path.name)
        models.promote(session, model, body.version)
        session.refresh(model)
        return _detail(session, model)
