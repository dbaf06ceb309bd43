"""Leftovers: what uploads that have ended leave in storage, and when it is deleted."""

import logging
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared.db import reading, transaction
from shared.errors import Retryable
from shared.states import UploadState
from shared.storage import storage
from shared.tables.file import File
from shared.tables.upload import Part, Upload

log = logging.getLogger(__name__)

_GRACE = timedelta(hours=1)
"""For a completion that began in time and still reads the parts."""
_LATE = timedelta(days=1)
"""No object of a lost request comes later than that."""
_AT_ONCE = 50

_PENDING = Upload.state == UploadState.PENDING


def clear(upload_id: str) -> None:
    """Delete the parts of an upload that has ended. Raises StorageUnavailable."""
    chosen = select(Part).where(Part.upload_id == upload_id).limit(_AT_ONCE)
    more = True
    while more:
        with reading() as session:
            parts = session.scalars(chosen).all()
        # The objects first: should this end half-way, the rows still say what is to be deleted.
        for part in parts:
            storage().delete(part.key)
        with transaction() as session:
            _forget_parts(session, upload_id, [part.id for part in parts])
        more = len(parts) == _AT_ONCE


def _forget_parts(session: Session, upload_id: str, ids: Sequence[str]) -> None:
    """Delete parts' rows; of two who do it at once, each takes off the bytes of those it found."""
    mine = update(Upload).where(Upload.id == upload_id)
    freed = sum(session.scalars(delete(Part).where(Part.id.in_(ids)).returning(Part.bytes)))
    session.execute(mine.values(stored=Upload.stored - freed))


def clear_or_leave(upload_id: str) -> None:
    """Delete such parts now, or leave them to the hourly pass should that fail."""
    try:
        clear(upload_id)
    except (Retryable, SQLAlchemyError) as error:
        log.warning("the parts of %s are left for later: %s", upload_id, error)


def expire(session: Session) -> None:
    """End what was not completed in time."""
    late = update(Upload).where(_PENDING, Upload.expires_at < func.now() - _GRACE)
    session.execute(late.values(state=UploadState.EXPIRED))


def with_parts(session: Session) -> Sequence[str]:
    """Some uploads that have ended and whose parts are still there."""
    chosen = select(Upload.id).where(~_PENDING, exists().where(Part.upload_id == Upload.id))
    return session.scalars(chosen.limit(_AT_ONCE)).all()


def outdated(session: Session) -> Sequence[Upload]:
    """Some uploads that ended so long ago that nothing is on its way to their folder any more."""
    chosen = select(Upload).where(~_PENDING, Upload.expires_at < func.now() - _LATE)
    return session.scalars(chosen.limit(_AT_ONCE)).all()


def key_of_file(session: Session, upload: Upload) -> str | None:
    """Where the file that an upload became lies; None when there is none any more."""
    return session.scalar(select(File.key).where(File.id == upload.file_id))


def forget(session: Session, upload_id: str) -> None:
    """Delete an upload's row."""
    session.execute(delete(Upload).where(Upload.id == upload_id))
