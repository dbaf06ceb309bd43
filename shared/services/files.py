"""Files: uploaded by clients, or written by jobs for them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import IO, Any

from sqlalchemy import ColumnElement, Select, any_, exists, func, or_, select
from sqlalchemy import delete as delete_rows
from sqlalchemy.orm import Session

from shared.errors import Conflict, Invalid, NotFound
from shared.ids import new_id
from shared.services.pages import Cursor, Page, page
from shared.states import DatasetState, JobState
from shared.storage import stored
from shared.tables.dataset import Dataset
from shared.tables.file import File
from shared.tables.job import Job
from shared.tables.tenant import Tenant

_AT_ONCE = 50

_LIVES = or_(File.expires_at.is_(None), File.expires_at > func.now())
_READ_BY_JOB = exists().where(
    Job.tenant_id == File.tenant_id,
    Job.state == JobState.VALIDATING,
    Job.input_file_id == File.id,
)
_READ_BY_DATASET = exists().where(
    Dataset.tenant_id == File.tenant_id,
    Dataset.state == DatasetState.PREPARING,
    any_(Dataset.files) == File.id,
)
_EXPIRED = (File.expires_at <= func.now(), ~_READ_BY_JOB, ~_READ_BY_DATASET)


def store(
    tenant_id: str,
    purpose: str,
    filename: str,
    source: IO[bytes],
    limit: int | None = None,
    lifetime_s: int | None = None,
) -> File:
    """Stream a file into storage and give its row, not yet added to a session.

    Memory stays flat. Raises TooLarge past `limit` bytes, Invalid when empty, StorageUnavailable.
    """
    id_ = new_id("file")
    key = f"{folder(tenant_id)}{id_}"
    with stored(key, source, limit) as reader:
        if reader.bytes == 0:
            raise Invalid("file: the file is empty", param="file")
    return File(
        id=id_,
        tenant_id=tenant_id,
        purpose=purpose,
        filename=filename,
        bytes=reader.bytes,
        sha256=reader.sha256,
        key=key,
        expires_at=expiry(lifetime_s),
    )


def expiry(lifetime_s: int | None) -> ColumnElement[Any] | None:
    """When a file whose row is added now expires, by the database's clock."""
    return None if lifetime_s is None else func.now() + timedelta(seconds=lifetime_s)


def get(session: Session, tenant_id: str, id_: str, *, param: str | None = None) -> File:
    """A tenant's file. Raises NotFound, also when it has expired."""
    return _one(session, _own(tenant_id, id_).where(_LIVES), id_, param)


def hold(session: Session, tenant_id: str, id_: str, *, param: str) -> File:
    """A file that work is being accepted for: nobody deletes it before the transaction is over.

    Raises NotFound.
    """
    chosen = _own(tenant_id, id_).where(_LIVES)
    return _one(session, chosen.with_for_update(read=True, key_share=True), id_, param)


def held(session: Session, tenant_id: str, id_: str, *, param: str) -> File:
    """A file that accepted work reads, though it may have expired since. Raises NotFound."""
    return _one(session, _own(tenant_id, id_), id_, param)


def _own(tenant_id: str, id_: str) -> Select[File]:
    return select(File).where(File.id == id_, File.tenant_id == tenant_id)


def _one(session: Session, chosen: Select[File], id_: str, param: str | None) -> File:
    found = session.scalar(chosen)
    if found is None:
        named = f"{param}: no file {id_!r}" if param else f"No file {id_!r}."
        raise NotFound(named, param=param)
    return found


def list_files(session: Session, tenant_id: str, cursor: Cursor, purpose: str | None) -> Page[File]:
    """A page of a tenant's files."""
    chosen = select(File).where(File.tenant_id == tenant_id, _LIVES)
    if purpose is not None:
        chosen = chosen.where(File.purpose == purpose)
    return page(session, chosen, File.id, cursor)


def delete(session: Session, tenant_id: str, id_: str) -> str:
    """Delete a file's row and give its storage key, to be deleted once that is committed.

    Raises Conflict while a data set is being prepared from it, or a job's items are read from it.
    """
    chosen = _own(tenant_id, id_).where(_LIVES)
    file = _one(session, chosen.with_for_update(), id_, None)
    # Statements of their own: only now is work seen that was being accepted a moment ago.
    this = select(File.id).where(File.id == id_)
    if session.scalar(this.where(_READ_BY_JOB)) is not None:
        raise Conflict("A job's items are being read from this file; delete it when that is over.")
    if session.scalar(this.where(_READ_BY_DATASET)) is not None:
        raise Conflict("A data set is being prepared from this file; delete it when that is over.")
    session.delete(file)
    return file.key


def expired(session: Session) -> Sequence[str]:
    """Some files that have expired and that no work reads any more."""
    return session.scalars(select(File.id).where(*_EXPIRED).limit(_AT_ONCE)).all()


def expired_key(session: Session, id_: str) -> str | None:
    """The storage key of an expired file, once it is certain that no work reads it; None if some
    does. From then on none is accepted for it.
    """
    # First the wait for whoever holds it, then a statement that sees the work.
    session.execute(select(File.id).where(File.id == id_).with_for_update())
    return session.scalar(select(File.key).where(File.id == id_, *_EXPIRED))


def forget(session: Session, id_: str) -> None:
    """Delete a file's row, once its object is deleted."""
    session.execute(delete_rows(File).where(File.id == id_))


def folder(tenant_id: str) -> str:
    """Below which a tenant's files lie in storage, but those that came in parts."""
    return f"{tenant_id}/files/"


def tenants(session: Session) -> Sequence[str]:
    """The ids of all who may have files."""
    return session.scalars(select(Tenant.id)).all()


def named(session: Session, tenant_id: str, keys: Sequence[str]) -> set[str]:
    """Those of these keys that a row of the tenant's files names."""
    mine = select(File.key).where(File.tenant_id == tenant_id, File.key.in_(keys))
    return set(session.scalars(mine))
