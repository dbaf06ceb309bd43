"""Assembly: the parts of an upload become one file, read and written in one pass."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db import reading, transaction
from shared.errors import Conflict, Invalid, NotFound
from shared.ids import new_id
from shared.services import files, leftovers, uploads
from shared.states import UploadState
from shared.storage import storage, stored
from shared.tables.file import File
from shared.tables.upload import Part, Upload


@dataclass(frozen=True)
class Asked:
    """How a client wants an upload to be completed."""

    part_ids: Sequence[str]
    """In the order of the file."""
    md5: str | None = None
    """Of the whole file, in hexadecimal; absent: not compared."""

    @property
    def hash(self) -> str:
        """What makes two requests the same."""
        return hashlib.sha256(json.dumps([list(self.part_ids), self.md5]).encode()).hexdigest()


def complete(tenant_id: str, id_: str, asked: Asked) -> tuple[Upload, File | None]:
    """Turn an upload's parts into a file; gives both, without the file when it is deleted again.

    The same request once more gets the same answer. No transaction is open while bytes are moved,
    and of two completions at once the first to end wins. Raises NotFound, Conflict or Invalid.
    """
    with reading() as session:
        upload = uploads.get(session, tenant_id, id_)
        if upload.asked == asked.hash:
            return upload, _file_of(session, upload)
        upload = uploads.get_open(session, tenant_id, id_)
        parts = _choose(session, upload, asked.part_ids)
    file = _assemble(upload, parts, asked.md5)
    with transaction() as session:
        upload = uploads.complete(session, upload, file, asked.hash)
        kept = _file_of(session, upload)
    # Only here is it certain that no row names it; after a fault, upkeep finds what is left over.
    if file is not None and file.id != upload.file_id:
        storage().delete(file.key)
    if upload.state == UploadState.PENDING:
        raise Conflict(f"Bytes of upload {id_} are missing from storage; create another one.")
    if upload.asked != asked.hash:
        raise uploads.ended(upload)
    leftovers.clear_or_leave(id_)
    return upload, kept


def _file_of(session: Session, upload: Upload) -> File | None:
    try:
        return files.get(session, upload.tenant_id, str(upload.file_id))
    except NotFound:
        return None


def _choose(session: Session, upload: Upload, part_ids: Sequence[str]) -> list[Part]:
    """The parts in the order that was asked for. Raises Invalid naming the one at fault."""
    rows = session.scalars(select(Part).where(Part.upload_id == upload.id))
    left = {part.id: part for part in rows}
    chosen = []
    for position, id_ in enumerate(part_ids):
        part = left.pop(id_, None)
        if part is None:
            field = f"part_ids[{position}]"
            fault = "is named twice" if id_ in part_ids[:position] else "is no part of this upload"
            raise Invalid(f"{field}: {id_!r} {fault}", param=field)
        chosen.append(part)
    total = sum(part.bytes for part in chosen)
    if total != upload.bytes:
        raise Invalid(
            f"part_ids: these parts have {total} bytes, and the upload was announced with "
            f"{upload.bytes}; send and name what is missing, or create another upload",
            param="part_ids",
        )
    return chosen


def _assemble(upload: Upload, parts: Sequence[Part], md5: str | None) -> File | None:
    """Store the file; None when bytes of it are gone, be it that the upload ended meanwhile.

    Raises Invalid when it has another checksum.
    """
    id_ = new_id("file")
    key = f"{uploads.folder(upload.tenant_id, upload.id)}/{id_}"
    joined = _Joined([part.key for part in parts], md5)
    try:
        with stored(key, joined) as reader:
            joined.check_md5()
            if reader.bytes != upload.bytes:
                raise NotFound
    except NotFound:
        return None
    finally:
        joined.close()
    return File(
        id=id_,
        tenant_id=upload.tenant_id,
        purpose=upload.purpose,
        filename=upload.filename,
        bytes=reader.bytes,
        sha256=reader.sha256,
        key=key,
        expires_at=files.expiry(upload.lifetime_s),
    )


class _Joined:
    """Several objects, read as one stream."""

    def __init__(self, keys: Sequence[str], md5: str | None):
        self._keys = iter(keys)
        self._source: IO[bytes] | None = None
        self._wanted = md5
        self._md5 = hashlib.md5(usedforsecurity=False)

    def read(self, size: int = -1, /) -> bytes:
        """Some bytes of the object that is next; none after the last one."""
        while (source := self._opened()) is not None:
            chunk = source.read(size)
            if chunk:
                if self._wanted is not None:
                    self._md5.update(chunk)
                return chunk
            self.close()
        return b""

    def _opened(self) -> IO[bytes] | None:
        """The object that is being read, or the next one; None after the last one."""
        if self._source is None and (key := next(self._keys, None)) is not None:
            self._source = storage().open(key)
        return self._source

    def check_md5(self) -> None:
        """Raises Invalid when what was read has another checksum than was asked for."""
        found = self._md5.hexdigest()
        if self._wanted is not None and found != self._wanted.lower():
            raise Invalid(
                f"md5: these parts have the checksum {found}; name them in the order of the file, "
                "or send again what is wrong",
                param="md5",
            )

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None
