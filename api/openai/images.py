"""Image generation, in the shape of the OpenAI API: pictures from an image model."""

from flask import Response
from flask_openapi import APIBlueprint, Tag

from api.auth import needs
from api.creates import takes_key
from api.openai.calls import call
from api.routes.jobs import JobAnswer
from shared.endpoints.images import ENDPOINT, Images, ImagesBody
from shared.states import Scope

blueprint = APIBlueprint(
    "images",
    __name__,
    url_prefix="/v1/images",
    abp_tags=[Tag(name="images", description="Pictures from an image model, while you wait.")],
    abp_security=[{"key": []}],
)


@blueprint.post("/generations", responses={200: Images, 202: JobAnswer}, summary="Make pictures")
@needs(Scope.GENERATE)
@takes_key
def create_images(body: ImagesBody) -> Response:
    return call(ENDPOINT, body)
