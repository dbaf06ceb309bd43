"""Chat completions, in the shape of the OpenAI API: the next turn of a conversation."""

from flask import Response
from flask_openapi import APIBlueprint, Tag

from api.auth import needs
from api.creates import takes_key
from api.description import may_stream
from api.openai.calls import call
from api.openai.streams import CHUNKS
from api.routes.jobs import JobAnswer
from shared.endpoints.chat import ENDPOINT, ChatBody, ChatCompletion
from shared.states import Scope

blueprint = APIBlueprint(
    "chat",
    __name__,
    url_prefix="/v1/chat/completions",
    abp_tags=[
        Tag(name="chat", description="Conversations continued by a text model, while you wait.")
    ],
    abp_security=[{"key": []}],
)


@blueprint.post(
    "", responses={200: ChatCompletion, 202: JobAnswer}, summary="Reply to a conversation"
)
@needs(Scope.GENERATE)
@takes_key
@may_stream(CHUNKS)
def create_chat_completion(body: ChatBody) -> Response:
    return call(ENDPOINT, body)
