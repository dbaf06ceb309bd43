"""Embeddings, in the shape of the OpenAI API: vectors of texts."""

from flask import Response
from flask_openapi import APIBlueprint, Tag

from api.auth import needs
from api.creates import takes_key
from api.openai.calls import call
from api.routes.jobs import JobAnswer
from shared.endpoints.embeddings import ENDPOINT, Embeddings, EmbeddingsBody
from shared.states import Scope

blueprint = APIBlueprint(
    "embeddings",
    __name__,
    url_prefix="/v1/embeddings",
    abp_tags=[Tag(name="embeddings", description="Vectors of texts, while you wait.")],
    abp_security=[{"key": []}],
)


@blueprint.post("", responses={200: Embeddings, 202: JobAnswer}, summary="Give vectors of texts")
@needs(Scope.GENERATE)
@takes_key
def create_embeddings(body: EmbeddingsBody) -> Response:
    return call(ENDPOINT, body)
