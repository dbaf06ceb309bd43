"""Files, in the shapes of the OpenAI API: batches of items, and what data sets are made from."""

from typing import Annotated, Literal

from flask import Response, jsonify, request
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from api.auth import caller, needs
from api.contents import answers, send
from api.creates import create_stored, takes_key
from api.pagination import FileId, ListAnswer, ListQuery, answer_list
from api.requests import SentFile
from api.times import seconds, seconds_or_none
from shared.db import reading, transaction
from shared.errors import Invalid
from shared.services import files, quotas
from shared.settings import settings
from shared.states import Scope
from shared.storage import BINARY, storage
from shared.tables.file import File

blueprint = APIBlueprint(
    "files",
    __name__,
    url_prefix="/v1/files",
    abp_tags=[Tag(name="files", description="What is uploaded, and what batches leave behind.")],
    abp_security=[{"key": []}],
)

_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"
"""As forms name the fields of an object."""

Purpose = Literal["batch", "fine-tune", "user_data", "vision", "evals", "assistants"]

Lifetime = Annotated[int, Field(ge=3600, le=2_592_000)]
"""Seconds: an hour to thirty days."""


class ExpiresAfter(BaseModel):
    """When a file is to be deleted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    anchor: Literal["created_at"]
    seconds: Lifetime


class FileForm(BaseModel):
    """A file to upload."""

    model_config = ConfigDict(
        extra="forbid",
        arbitrary_types_allowed=True,
        json_schema_extra={
            "examples": [
                {
                    "file": '{"custom_id": "order-7", "params": {"label": "7"}}\n',
                    "purpose": "batch",
                },
            ]
        },
    )

    file: SentFile
    purpose: Purpose = Field(description="`fine-tune` for data sets, `batch` for items.")
    anchor: Literal["created_at"] | None = Field(
        None, alias=_ANCHOR, description="With `expires_after[seconds]`: what they count from."
    )
    seconds: Lifetime | None = Field(
        None, alias=_SECONDS, description="Deleted so long after; absent: kept."
    )

    def lifetime_s(self) -> int | None:
        """How long the file lives. Raises Invalid when only half of it is said."""
        if (self.anchor is None) != (self.seconds is None):
            missing = _ANCHOR if self.anchor is None else _SECONDS
            raise Invalid(f"{missing}: expires_after needs both its fields", param=missing)
        return self.seconds


class FileAnswer(BaseModel):
    """A file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = Field(description="When it is deleted; null: it is kept.")
    filename: str
    purpose: str
    sha256: str
    status: Literal["processed"] = "processed"
    status_details: None = Field(None, description="Always null: no file is kept that is not good.")


class DeletedAnswer(BaseModel):
    """A thing that is gone."""

    id: str
    object: str
    deleted: Literal[True] = True


class FilePath(BaseModel):
    """Which file."""

    id: str


class FilesQuery(ListQuery[FileId]):
    """Which files."""

    limit: int = Field(10_000, ge=1, le=10_000)
    purpose: str | None = None


def show_file(file: File) -> FileAnswer:
    """A file as its answer."""
    return FileAnswer(
        id=file.id,
        bytes=file.bytes,
        created_at=seconds(file.created_at),
        expires_at=seconds_or_none(file.expires_at),
        filename=file.filename,
        purpose=file.purpose,
        sha256=file.sha256,
    )


@blueprint.post("", responses={200: FileAnswer}, summary="Upload a file")
@needs(Scope.TRAIN, Scope.GENERATE)
@takes_key
def create_file(form: FileForm) -> Response:
    filename = form.file.filename or "upload"
    limit, lifetime_s = settings().file_limit, form.lifetime_s()
    with reading() as session:
        quotas.check_bytes(session, caller().tenant_id, request.content_length or 0)
    file = files.store(
        caller().tenant_id, form.purpose, filename, form.file.stream, limit, lifetime_s
    )

    def create(session: Session) -> tuple[FileAnswer, None]:
        quotas.take_bytes(session, file.tenant_id, file.bytes)
        session.add(file)
        session.flush()
        session.refresh(file)
        return show_file(file), None

    asked = {
        "purpose": form.purpose,
        "filename": filename,
        "sha256": file.sha256,
        "lifetime_s": lifetime_s,
    }
    return create_stored(file.id, file.key, create, asked)


@blueprint.get("", responses={200: ListAnswer[FileAnswer]}, summary="List files")
@needs(Scope.READ)
def list_files(query: FilesQuery) -> Response:
    with reading() as session:
        found = files.list_files(session, caller().tenant_id, query.cursor(), query.purpose)
        return answer_list(found, show_file)


@blueprint.get("/<string:id>", responses={200: FileAnswer}, summary="Look at a file")
@needs(Scope.READ)
def get_file(path: FilePath) -> Response:
    with reading() as session:
        file = files.get(session, caller().tenant_id, path.id)
    return jsonify(show_file(file).model_dump(mode="json"))


@blueprint.get("/<string:id>/content", responses=answers(BINARY), summary="Fetch a file's bytes")
@needs(Scope.READ)
def get_file_content(path: FilePath) -> AnyResponse:
    with reading() as session:
        file = files.get(session, caller().tenant_id, path.id)
    return send(file.key, file.filename, BINARY)


@blueprint.delete("/<string:id>", responses={200: DeletedAnswer}, summary="Delete a file")
@needs(Scope.TRAIN, Scope.GENERATE)
def delete_file(path: FilePath) -> Response:
    with transaction() as session:
        key = files.delete(session, caller().tenant_id, path.id)
    storage().delete(key)
    return jsonify(DeletedAnswer(id=path.id, object="file").model_dump())
