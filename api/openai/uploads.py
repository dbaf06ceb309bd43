"""Uploads, in the shapes of the OpenAI API: files too large for one request, sent in parts."""

from typing import Annotated, Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from api.auth import caller, needs
from api.creates import create_once, create_stored, held_key, takes_key
from api.openai.files import ExpiresAfter, FileAnswer, Purpose, show_file
from api.requests import SentFile, require_json
from api.times import seconds
from shared.db import reading, transaction
from shared.services import assembly, leftovers, uploads
from shared.states import Scope, UploadState
from shared.tables.file import File
from shared.tables.upload import Part, Upload

blueprint = APIBlueprint(
    "uploads",
    __name__,
    url_prefix="/v1/uploads",
    abp_tags=[Tag(name="uploads", description="Files too large for one request, sent in parts.")],
    abp_security=[{"key": []}],
)


class UploadBody(BaseModel):
    """A file that will come in parts."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "filename": "digits.zip",
                    "purpose": "fine-tune",
                    "bytes": 1048576,
                    "mime_type": "application/zip",
                },
            ]
        },
    )

    filename: str = Field(min_length=1)
    purpose: Purpose = Field(description="`fine-tune` for data sets, `batch` for items.")
    bytes: int = Field(ge=1, le=uploads.MOST_BYTES, description="How long the file will be.")
    mime_type: str = Field(description="Accepted; changes nothing: files are sent as downloads.")
    expires_after: ExpiresAfter | None = Field(
        None, description="When the file is deleted, from its completion on; absent: it is kept."
    )


class UploadAnswer(BaseModel):
    """An upload as it stands."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int = Field(description="Until then it takes parts and can be completed.")
    filename: str
    purpose: str
    status: UploadState
    file: FileAnswer | None = Field(None, description="What it became.")


class PartForm(BaseModel):
    """Bytes of an upload."""

    model_config = ConfigDict(
        extra="forbid",
        arbitrary_types_allowed=True,
        json_schema_extra={"examples": [{"data": "the next bytes of the file"}]},
    )

    data: SentFile = Field(description="At most 64 MiB.")


class PartAnswer(BaseModel):
    """A part that was kept."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


class CompleteBody(BaseModel):
    """How the parts make the file."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"part_ids": ["part_01k9z3n6vq0c8t2w5h7m4r1xja"]}]},
    )

    part_ids: Annotated[list[str], Field(min_length=1, max_length=uploads.MOST_PARTS)] = Field(
        description="In the order of the file."
    )
    md5: str | None = Field(
        None, pattern="^[0-9a-fA-F]{32}$", description="Of the whole file, in hexadecimal."
    )


class UploadPath(BaseModel):
    """Which upload."""

    id: str


def show_upload(upload: Upload, file: File | None = None) -> UploadAnswer:
    """An upload as its answer."""
    return UploadAnswer(
        id=upload.id,
        bytes=upload.bytes,
        created_at=seconds(upload.created_at),
        expires_at=seconds(upload.expires_at),
        filename=upload.filename,
        purpose=upload.purpose,
        status=UploadState(upload.state),
        file=show_file(file) if file is not None else None,
    )


def show_part(part: Part) -> PartAnswer:
    """A part as its answer."""
    return PartAnswer(id=part.id, created_at=seconds(part.created_at), upload_id=part.upload_id)


@blueprint.post("", responses={200: UploadAnswer}, summary="Announce a file that comes in parts")
@needs(Scope.TRAIN, Scope.GENERATE)
@takes_key
def create_upload(body: UploadBody) -> Response:
    require_json()
    lifetime_s = body.expires_after.seconds if body.expires_after is not None else None
    new = uploads.NewUpload(body.purpose, body.filename, body.bytes, lifetime_s)

    def create(session: Session) -> tuple[UploadAnswer, None]:
        return show_upload(uploads.create(session, caller().tenant_id, new)), None

    return create_once(200, create)


@blueprint.post("/<string:id>/parts", responses={200: PartAnswer}, summary="Send a part")
@needs(Scope.TRAIN, Scope.GENERATE)
@takes_key
def create_part(path: UploadPath, form: PartForm) -> Response:
    tenant_id = caller().tenant_id
    with reading() as session:
        uploads.get_open(session, tenant_id, path.id)
    part, sha256 = uploads.store_part(tenant_id, path.id, form.data.stream)

    def create(session: Session) -> tuple[PartAnswer, None]:
        uploads.add_part(session, tenant_id, part)
        return show_part(part), None

    return create_stored(part.id, part.key, create, {"sha256": sha256})


@blueprint.post(
    "/<string:id>/complete", responses={200: UploadAnswer}, summary="Make a file of the parts"
)
@needs(Scope.TRAIN, Scope.GENERATE)
@takes_key
def complete_upload(path: UploadPath, body: CompleteBody) -> Response:
    require_json()
    asked = assembly.Asked(body.part_ids, body.md5)
    with held_key():
        upload, file = assembly.complete(caller().tenant_id, path.id, asked)
    return jsonify(show_upload(upload, file).model_dump(mode="json"))


@blueprint.post("/<string:id>/cancel", responses={200: UploadAnswer}, summary="Give an upload up")
@needs(Scope.TRAIN, Scope.GENERATE)
def cancel_upload(path: UploadPath) -> Response:
    with transaction() as session:
        upload = uploads.cancel(session, caller().tenant_id, path.id)
    leftovers.clear_or_leave(upload.id)
    return jsonify(show_upload(upload).model_dump(mode="json"))
