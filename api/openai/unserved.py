"""What the OpenAI API has and no model here serves: a clear refusal, not an unknown address."""

from typing import NoReturn

from flask import request
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel

from api.auth import needs
from api.surplus import takes_anything
from shared.endpoints import ENDPOINTS, NotServed
from shared.states import Scope

blueprint = APIBlueprint(
    "unserved",
    __name__,
    url_prefix="/v1",
    abp_tags=[
        Tag(
            name="not served",
            description="Speech, videos and more, for which there is no model: whatever is asked "
            "of these is answered with 400 and the code `endpoint_not_served`.",
        )
    ],
    abp_security=[{"key": []}],
)


class VideoPath(BaseModel):
    """Which video, or what of it."""

    id: str


def _refuse() -> NoReturn:
    request.get_data()  # so that a body over the limit is refused here as it is anywhere else
    served = ", ".join(ENDPOINTS)
    raise NotServed(f"{request.path} is not served by any model here; served: {served}", param=None)


@blueprint.post("/audio/speech", summary="Speak a text")
@needs(Scope.GENERATE)
@takes_anything
def create_speech() -> NoReturn:
    _refuse()


@blueprint.post("/audio/transcriptions", summary="Write down what is spoken")
@needs(Scope.GENERATE)
@takes_anything
def create_transcription() -> NoReturn:
    _refuse()


@blueprint.post("/audio/translations", summary="Translate what is spoken")
@needs(Scope.GENERATE)
@takes_anything
def create_translation() -> NoReturn:
    _refuse()


@blueprint.post("/images/edits", summary="Change a picture")
@needs(Scope.GENERATE)
@takes_anything
def edit_image() -> NoReturn:
    _refuse()


@blueprint.post("/images/variations", summary="Vary a picture")
@needs(Scope.GENERATE)
@takes_anything
def vary_image() -> NoReturn:
    _refuse()


@blueprint.post("/moderations", summary="Judge a text")
@needs(Scope.GENERATE)
@takes_anything
def create_moderation() -> NoReturn:
    _refuse()


@blueprint.post("/responses", summary="Answer, with tools and a memory")
@needs(Scope.GENERATE)
@takes_anything
def create_response() -> NoReturn:
    _refuse()


@blueprint.post("/videos", summary="Make a video")
@needs(Scope.GENERATE)
@takes_anything
def create_video() -> NoReturn:
    _refuse()


@blueprint.get("/videos", summary="List videos")
@needs(Scope.READ)
@takes_anything
def list_videos() -> NoReturn:
    _refuse()


# Their contents, remixes and characters too.
@blueprint.get("/videos/<path:id>", summary="Look at a video")
@needs(Scope.READ)
@takes_anything
def get_video(path: VideoPath) -> NoReturn:  # noqa: ARG001 - described, not read
    _refuse()


@blueprint.post("/videos/<path:id>", summary="Make a video of another")
@needs(Scope.GENERATE)
@takes_anything
def change_video(path: VideoPath) -> NoReturn:  # noqa: ARG001 - described, not read
    _refuse()


@blueprint.delete("/videos/<path:id>", summary="Delete a video")
@needs(Scope.GENERATE)
@takes_anything
def delete_video(path: VideoPath) -> NoReturn:  # noqa: ARG001 - described, not read
    _refuse()
