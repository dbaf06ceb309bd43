"""Files: uploaded by clients, or written by jobs for them."""

from typing import IO

from sqlalchemy import any_, select
from sqlalchemy.orm import Session

from shared.errors import Conflict, Invalid, NotFound
from shared.ids import new_id
from shared.services.pages import Cursor, Page, page
from shared.states import DatasetState, JobState
from shared.storage import BINARY, HashingReader, storage
from shared.tables.dataset import Dataset
from shared.tables.file import File
from shared.tables.job import Job


def store(
    tenant_id: str, purpose: str, filename: str, source: IO[bytes], limit: int | None = None
) -> File:
    """Stream a file into storage and give its row, not yet added to a session.

    Memory stays flat. Raises TooLarge past `limit` bytes, Invalid when empty, StorageUnavailable.
    """
    id_ = new_id("file")
    key = f"{tenant_id}/files/{id_}"
    reader = HashingReader(source, limit)
    try:
        storage().put(key, reader, media_type=BINARY)
        if reader.bytes == 0:
            raise Invalid("file: the file is empty", param="file")
    except BaseException:
        storage().delete(key)
        raise
    return File(
        id=id_,
        tenant_id=tenant_id,
        purpose=purpose,
        filename=filename,
        bytes=reader.bytes,
        sha256=reader.sha256,
        key=key,
    )


def get(session: Session, tenant_id: str, id_: str, *, param: str | None = None) -> File:
    """A tenant's file. Raises NotFound."""
    found = session.scalar(select(File).where(File.id == id_, File.tenant_id == tenant_id))
    if found is None:
        named = f"{param}: no file {id_!r}" if param else f"No file {id_!r}."
        raise NotFound(named, param=param)
    return found


def list_files(session: Session, tenant_id: str, cursor: Cursor, purpose: str | None) -> Page[File]:
    """A page of a tenant's files."""
    chosen = select(File).where(File.tenant_id == tenant_id)
    if purpose is not None:
        chosen = chosen.where(File.purpose == purpose)
    return page(session, chosen, File.id, cursor)


def delete(session: Session, tenant_id: str, id_: str) -> str:
    """Delete a file's row and give its storage key, to be deleted once that is committed.

    Raises Conflict while a data set is being prepared from it, or a job's items are read from it.
    """
    file = get(session, tenant_id, id_)
    reading = select(Job.id).where(Job.input_file_id == id_, Job.state == JobState.VALIDATING)
    if session.scalar(reading.where(Job.tenant_id == tenant_id).limit(1)) is not None:
        raise Conflict("A job's items are being read from this file; delete it when that is over.")
    waiting = select(Dataset.id).where(
        Dataset.tenant_id == tenant_id,
        Dataset.state == DatasetState.PREPARING,
        any_(Dataset.files) == id_,
    )
    if session.scalar(waiting.limit(1)) is not None:
        raise Conflict("A data set is being prepared from this file; delete it when that is over.")
    session.delete(file)
    return file.key
