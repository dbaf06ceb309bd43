"""One installer at a time."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from shared.db import asking

_LOCK = {"lock": 7_021_114}
_TRY = text("SELECT pg_try_advisory_lock(:lock)")
_RELEASE = text("SELECT pg_advisory_unlock(:lock)")
_PAUSE_S = 0.5

_log = logging.getLogger(__name__)


@contextmanager
def alone() -> Iterator[None]:
    """Run the block while no other installer is at work; wait, however long, for one that is.

    It is asked for again and again: a statement that waited for it would hold a snapshot, for
    which the other's index builds wait in turn.
    """
    with asking() as connection:
        if not connection.execute(_TRY, _LOCK).scalar_one():
            _log.warning("another installer is at work on the database; waiting for it to end")
            while not connection.execute(_TRY, _LOCK).scalar_one():
                time.sleep(_PAUSE_S)
        try:
            yield
        finally:
            connection.execute(_RELEASE, _LOCK)
