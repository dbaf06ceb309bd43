"""Health: whether this process lives, and whether it can serve."""

from typing import Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel
from sqlalchemy import text

from api.auth import public
from shared.db import transaction

blueprint = APIBlueprint(
    "health",
    __name__,
    url_prefix="/api/v1/health",
    abp_tags=[Tag(name="health", description="Whether this process lives and can serve.")],
)


class HealthAnswer(BaseModel):
    """It is well."""

    status: Literal["ok"] = "ok"


@blueprint.get("/live", responses={200: HealthAnswer}, summary="Does this process live?")
@public
def live() -> Response:
    return jsonify(HealthAnswer().model_dump())


@blueprint.get("/ready", responses={200: HealthAnswer}, summary="Can it serve requests?")
@public
def ready() -> Response:
    # Redis is not asked: without it, jobs are still accepted and nothing is lost.
    with transaction() as session:
        session.execute(text("SELECT 1"))
    return jsonify(HealthAnswer().model_dump())
