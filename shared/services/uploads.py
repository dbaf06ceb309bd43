"""Uploads: files that come in parts, because they are too large for one request."""

from dataclasses import dataclass
from datetime import timedelta
from typing import IO

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from shared.errors import Conflict, Invalid, NotFound
from shared.ids import new_id
from shared.services import quotas
from shared.states import UploadState
from shared.storage import stored
from shared.tables.file import File
from shared.tables.upload import Part, Upload

PART_BYTES = 64 * 2**20
MOST_BYTES = 8 * 2**30
MOST_PARTS = 10_000
_LIFE = timedelta(hours=1)

_PENDING = Upload.state == UploadState.PENDING
_OPEN = (_PENDING, Upload.expires_at > func.now())


@dataclass(frozen=True)
class NewUpload:
    """What a client announces."""

    purpose: str
    filename: str
    bytes: int
    lifetime_s: int | None = None
    """How long the file will live; absent: it is kept."""


def create(session: Session, tenant_id: str, new: NewUpload) -> Upload:
    """A new upload, which takes its bytes of the tenant's quota. Raises StorageFull."""
    quotas.take_bytes(session, tenant_id, new.bytes)
    upload = Upload(
        id=new_id("upload"),
        tenant_id=tenant_id,
        state=UploadState.PENDING,
        purpose=new.purpose,
        filename=new.filename,
        bytes=new.bytes,
        lifetime_s=new.lifetime_s,
        expires_at=func.now() + _LIFE,
    )
    session.add(upload)
    session.flush()
    session.refresh(upload)
    return upload


def get(session: Session, tenant_id: str, id_: str) -> Upload:
    """A tenant's upload as it stands now. Raises NotFound."""
    chosen = select(Upload).where(*_own(tenant_id, id_))
    found = session.scalar(chosen.execution_options(populate_existing=True))
    if found is None:
        raise NotFound(f"No upload {id_!r}.")
    return found


def get_open(session: Session, tenant_id: str, id_: str) -> Upload:
    """An upload that takes parts and can be completed. Raises NotFound or Conflict."""
    upload = get(session, tenant_id, id_)
    if session.scalar(select(Upload.id).where(Upload.id == id_, *_OPEN)) is None:
        raise ended(upload)
    return upload


def ended(upload: Upload) -> Conflict:
    """The refusal of an upload that is not open any more."""
    is_late = upload.state == UploadState.PENDING
    state = UploadState.EXPIRED if is_late else upload.state
    return Conflict(f"Upload {upload.id} is {state}; create another one.")


def _own(tenant_id: str, id_: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Upload.id == id_, Upload.tenant_id == tenant_id


def folder(tenant_id: str, id_: str) -> str:
    """Below which everything of an upload lies in storage, the file that it becomes included."""
    return f"{tenant_id}/uploads/{id_}"


def store_part(tenant_id: str, upload_id: str, source: IO[bytes]) -> tuple[Part, str]:
    """Stream a part into storage; gives its row, not yet added to a session, and its SHA-256.

    Raises TooLarge, Invalid when empty, StorageUnavailable.
    """
    id_ = new_id("part")
    key = f"{folder(tenant_id, upload_id)}/{id_}"
    with stored(key, source, PART_BYTES) as reader:
        if reader.bytes == 0:
            raise Invalid("data: the part is empty", param="data")
    return Part(id=id_, upload_id=upload_id, bytes=reader.bytes, key=key), reader.sha256


def add_part(session: Session, tenant_id: str, part: Part) -> None:
    """Keep a stored part. Raises NotFound, Conflict, Invalid or StorageFull.

    A part may come twice, when an answer was lost: so the parts may be more than the file, but not
    without room in the quota.
    """
    own = _own(tenant_id, part.upload_id)
    taken = update(Upload).where(*own, *_OPEN).values(stored=Upload.stored + part.bytes)
    row = session.execute(taken.returning(Upload.bytes, Upload.stored)).first()
    if row is None:
        raise ended(get(session, tenant_id, part.upload_id))
    if part.bytes > row.bytes:
        raise Invalid(
            f"data: the part has {part.bytes} bytes, the whole upload {row.bytes}", param="data"
        )
    count = select(func.count()).where(Part.upload_id == part.upload_id)
    if session.scalar(count) == MOST_PARTS:
        raise Invalid(f"data: an upload takes {MOST_PARTS} parts; send larger ones", param="data")
    if row.stored > row.bytes:
        quotas.take_bytes(session, tenant_id, 0)
    session.add(part)
    session.flush()
    session.refresh(part)


def complete(session: Session, upload: Upload, file: File | None, asked: str) -> Upload:
    """Let an upload become a file, unless it has ended meanwhile; gives it as it stands then."""
    if file is not None:
        guarded = update(Upload).where(Upload.id == upload.id, _PENDING)
        values = {"state": UploadState.COMPLETED, "file_id": file.id, "asked": asked}
        if session.execute(guarded.values(**values)).rowcount == 1:  # type: ignore[attr-defined]
            session.add(file)
            session.flush()
            session.refresh(file)
    return get(session, upload.tenant_id, upload.id)


def cancel(session: Session, tenant_id: str, id_: str) -> Upload:
    """Give an upload up; once more changes nothing. Raises NotFound or Conflict."""
    guarded = update(Upload).where(*_own(tenant_id, id_), *_OPEN)
    session.execute(guarded.values(state=UploadState.CANCELLED))
    upload = get(session, tenant_id, id_)
    if upload.state != UploadState.CANCELLED:
        raise ended(upload)
    return upload
