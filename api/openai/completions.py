"""Completions, in the shape of the OpenAI API: prompts continued by a text model."""

from flask import Response
from flask_openapi import APIBlueprint, Tag

from api.auth import needs
from api.openai.calls import call
from shared.endpoints.completions import ENDPOINT, Completion, CompletionBody
from shared.states import Scope

blueprint = APIBlueprint(
    "completions",
    __name__,
    url_prefix="/v1/completions",
    abp_tags=[Tag(name="completions")],
    abp_security=[{"key": []}],
)


@blueprint.post("", responses={200: Completion}, summary="Continue prompts")
@needs(Scope.GENERATE)
def create_completion(body: CompletionBody) -> Response:
    return call(ENDPOINT, body)
