"""Completions, in the shape of the OpenAI API: prompts continued by a text model."""

from flask import Response
from flask_openapi import APIBlueprint, Tag

from api.auth import needs
from api.creates import takes_key
from api.description import may_stream
from api.openai.calls import call
from api.openai.streams import CHUNKS
from api.routes.jobs import JobAnswer
from shared.endpoints.completions import ENDPOINT, Completion, CompletionBody
from shared.states import Scope

blueprint = APIBlueprint(
    "completions",
    __name__,
    url_prefix="/v1/completions",
    abp_tags=[
        Tag(name="completions", description="Prompts continued by a text model, while you wait.")
    ],
    abp_security=[{"key": []}],
)


@blueprint.post("", responses={200: Completion, 202: JobAnswer}, summary="Continue prompts")
@needs(Scope.GENERATE)
@takes_key
@may_stream(CHUNKS)
def create_completion(body: CompletionBody) -> Response:
    return call(ENDPOINT, body)
