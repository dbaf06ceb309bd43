"""Local copies of stored weights and data sets: fetched once, verified, safe to delete."""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from shared.errors import IntegrityError
from shared.settings import settings
from shared.storage import CHUNK_BYTES, put_files, storage


def fetch(prefix: str, files: Mapping[str, str], name: str) -> Path:
    """A local copy of stored files, verified by their SHA-256; kept in the cache under `name`.

    Raises IntegrityError when a file is not what its row says.
    """
    folder = settings().cache / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Filled beside and renamed, so that the folder is whole if it is there.
    incoming = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".fetch-"))
    try:
        for file, sha256 in files.items():
            _fetch_file(f"{prefix}/{file}", incoming / file, sha256)
        incoming.rename(folder)
    except OSError:
        if not folder.is_dir():  # another process was not faster: a fault of its own
            raise
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return folder


def _fetch_file(key: str, path: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    with storage().open(key) as source, path.open("wb") as target:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            target.write(chunk)
    if digest.hexdigest() != sha256:
        raise IntegrityError(f"{key} does not have the hash {sha256[:12]}… that its row names.")


def upload(folder: Path, prefix: str) -> dict[str, str]:
    """Store every file of a flat folder under `prefix`; returns each one's SHA-256 by name."""
    return put_files(sorted(folder.iterdir()), prefix)


def fetch_folder(prefix: str, folder: Path) -> None:
    """Copy everything stored directly under `prefix` into a folder."""
    for stored in storage().list(f"{prefix}/"):
        name = stored.key.removeprefix(f"{prefix}/")
        with storage().open(stored.key) as source, (folder / name).open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK_BYTES)
