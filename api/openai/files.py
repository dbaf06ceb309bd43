"""Files, in the shapes of the OpenAI API: batches of items, and what data sets are made from."""

from typing import Literal

from flask import Response, jsonify, request
from flask_openapi import APIBlueprint, FileStorage, Tag
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from api.auth import caller, needs
from api.contents import send
from api.creates import create_once
from api.pagination import ListAnswer, ListQuery, answer_list
from api.times import seconds
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
    abp_tags=[Tag(name="files")],
    abp_security=[{"key": []}],
)

Purpose = Literal["batch", "fine-tune", "user_data", "vision", "evals", "assistants"]


class FileForm(BaseModel):
    """A file to upload."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    file: FileStorage
    purpose: Purpose = Field(description="`fine-tune` for data sets, `batch` for items.")


class FileAnswer(BaseModel):
    """A file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    sha256: str
    status: Literal["processed"] = "processed"


class DeletedAnswer(BaseModel):
    """A thing that is gone."""

    id: str
    object: str
    deleted: Literal[True] = True


class FilePath(BaseModel):
    """Which file."""

    id: str


class FilesQuery(ListQuery):
    """Which files."""

    limit: int = Field(10_000, ge=1, le=10_000)
    purpose: str | None = None


def show_file(file: File) -> FileAnswer:
    """A file as its answer."""
    return FileAnswer(
        id=file.id,
        bytes=file.bytes,
        created_at=seconds(file.created_at),
        filename=file.filename,
        purpose=file.purpose,
        sha256=file.sha256,
    )


@blueprint.post("", responses={200: FileAnswer}, summary="Upload a file")
@needs(Scope.TRAIN, Scope.GENERATE)
def create_file(form: FileForm) -> Response:
    upload = request.files.get("file")
    if upload is None:
        raise Invalid("file: must be sent as a file", param="file")
    filename = upload.filename or "upload"
    limit = settings().file_limit
    with reading() as session:
        quotas.check_bytes(session, caller().tenant_id, request.content_length or 0)
    file = files.store(caller().tenant_id, form.purpose, filename, upload.stream, limit)

    def create(session: Session) -> tuple[FileAnswer, None]:
        session.add(file)
        session.flush()
        session.refresh(file)
        return show_file(file), None

    asked = {"purpose": form.purpose, "filename": filename, "sha256": file.sha256}
    kept = False
    try:
        response = create_once(200, create, asked)
        kept = response.get_json()["id"] == file.id
        return response
    finally:
        if not kept:  # refused, or answered by the file of an earlier request under the same key
            storage().delete(file.key)


@blueprint.get("", responses={200: ListAnswer}, summary="List files")
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


@blueprint.get("/<string:id>/content", summary="Fetch a file's bytes, or a redirect to them")
@needs(Scope.READ)
def get_content(path: FilePath) -> AnyResponse:
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
