"""Folders that the users of engines can enter, for the engines of tests."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ROOM = 4 * 1024**3


@contextmanager
def scratch_home() -> Iterator[Path]:
    """An empty folder that is gone afterwards.

    In memory where there is room: a database is a thousand small files, and tests that empty its
    tables have all of them written out again and again.
    """
    # Not pytest's folders: as root it closes them, at every start, to the engine's user.
    roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
    folder = Path(
        tempfile.mkdtemp(prefix="atelier-test-", dir=_MEMORY if roomy else None)
    ).resolve()
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
