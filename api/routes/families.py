"""Families: what can be trained and run here, with the JSON Schema of its parameters."""

from typing import Any, Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, Field

from api.auth import needs
from api.pagination import ListAnswer, ListQuery, answer_list
from shared import catalog
from shared.errors import NotFound
from shared.family import Family
from shared.services.pages import page_of
from shared.states import Modality, Scope

blueprint = APIBlueprint(
    "families",
    __name__,
    url_prefix="/api/v1/families",
    abp_tags=[
        Tag(
            name="families",
            description="What can be trained and run here, and the parameters that it takes.",
        )
    ],
    abp_security=[{"key": []}],
)


class FamilyAnswer(BaseModel):
    """One family."""

    id: str
    object: Literal["family"] = "family"
    modality: Modality
    summary: str
    generation: dict[str, Any]
    embedding: dict[str, Any] | None
    training: dict[str, Any] | None


def show_family(family: Family) -> FamilyAnswer:
    """A family as its answer."""
    return FamilyAnswer(
        id=family.name,
        modality=family.modality,
        summary=family.summary,
        generation=family.generation.model_json_schema(),
        embedding=family.embedding.model_json_schema() if family.embedding else None,
        training=family.training.model_json_schema() if family.training else None,
    )


class FamilyPath(BaseModel):
    """Which family."""

    id: str


class FamiliesQuery(ListQuery):
    """Which families."""

    order: Literal["asc", "desc"] = Field("asc", description="By name.")
    modality: Modality | None = None


@blueprint.get("", responses={200: ListAnswer[FamilyAnswer]}, summary="List families")
@needs(Scope.READ)
def list_families(query: FamiliesQuery) -> Response:
    known = sorted(catalog.families().values(), key=lambda family: family.name)
    chosen = [family for family in known if query.modality in {None, family.modality}]
    return answer_list(page_of(chosen, lambda family: family.name, query.cursor()), show_family)


@blueprint.get("/<string:id>", responses={200: FamilyAnswer}, summary="Look at a family")
@needs(Scope.READ)
def get_family(path: FamilyPath) -> Response:
    found = catalog.families().get(path.id)
    if found is None:
        raise NotFound(f"No family {path.id!r}.")
    return jsonify(show_family(found).model_dump(mode="json"))
