"""Where files lie: an S3 bucket in production, a folder on one machine; the same keys in both.

A key is a path of plain segments. Writing a key twice leaves the last content; nothing is ever half
there.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import unquote, urlsplit

from shared.errors import Invalid, NotFound, StorageUnavailable, TooLarge
from shared.settings import settings

CHUNK_BYTES = 1 << 20
_DRAFT = ".put-"
"""Begins the name of a file that is still being written."""
BINARY = "application/octet-stream"
"""The media type of what is not shown to anybody as it is."""


class Readable(Protocol):
    """Anything that gives bytes until it gives none."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Stored:
    """What a listing says of one object."""

    key: str
    bytes: int
    modified_at: float
    """Seconds since 1970."""


class Storage(Protocol):
    """Objects by key. Every call raises StorageUnavailable when the storage is at fault."""

    def put(self, key: str, source: Readable, *, media_type: str) -> None:
        """Store a stream from where it stands to its end."""

    def open(self, key: str) -> IO[bytes]:
        """A stream of the content; the caller closes it. Raises NotFound."""

    def delete(self, key: str) -> None:
        """Remove an object; no error when there is none."""

    def list(self, prefix: str) -> Iterator[Stored]:
        """Every object whose key starts with `prefix`."""

    def delete_unfinished(self, prefix: str) -> None:
        """Remove what puts that were cut off have left, which no list shows.

        Only where nothing is being written any more.
        """

    def url(self, key: str, *, filename: str, media_type: str, expires_s: int) -> str | None:
        """An address from which a client may fetch the content itself, or None if there is none."""


class FolderStorage:
    """Objects as files below a folder: the default of one machine."""

    def __init__(self, folder: Path):
        self.folder = folder

    def _path(self, key: str) -> Path:
        segments = key.split("/")
        if any(segment in {"", ".", ".."} or "\x00" in segment for segment in segments):
            raise Invalid(f"{key!r} is not a storage key")
        return self.folder.joinpath(*segments)

    def put(self, key: str, source: Readable, *, media_type: str) -> None:
        path = self._path(key)
        try:
            # Written beside and renamed: a reader sees all of it or none.
            with self._file_beside(path) as file:
                try:
                    shutil.copyfileobj(source, file, CHUNK_BYTES)
                    file.flush()
                    os.fsync(file.fileno())
                    os.replace(file.name, path)
                except BaseException:
                    os.unlink(file.name)
                    raise
        except OSError as error:
            raise StorageUnavailable(f"Cannot write to {self.folder}: {error}") from error

    def _file_beside(self, path: Path) -> Any:
        try:
            return tempfile.NamedTemporaryFile(dir=path.parent, prefix=_DRAFT, delete=False)
        except FileNotFoundError:
            # Not made beforehand each time: most puts find their folder there.
            path.parent.mkdir(parents=True, exist_ok=True)
            return tempfile.NamedTemporaryFile(dir=path.parent, prefix=_DRAFT, delete=False)

    def open(self, key: str) -> IO[bytes]:
        try:
            return self._path(key).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFound(f"Nothing is stored under {key!r}.") from None
        except OSError as error:
            raise StorageUnavailable(f"Cannot read from {self.folder}: {error}") from error

    def delete(self, key: str) -> None:
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise StorageUnavailable(f"Cannot write to {self.folder}: {error}") from error

    def list(self, prefix: str) -> Iterator[Stored]:
        # Only the folder that the prefix names: the others may hold millions.
        within = self.folder / prefix.rpartition("/")[0]
        for path in sorted(within.rglob("*")):
            key = path.relative_to(self.folder).as_posix()
            if key.startswith(prefix) and path.is_file() and not path.name.startswith(_DRAFT):
                with suppress(FileNotFoundError):  # deleted meanwhile
                    stat = path.stat()
                    yield Stored(key, stat.st_size, stat.st_mtime)

    def delete_unfinished(self, prefix: str) -> None:
        within = self.folder / prefix.rpartition("/")[0]
        try:
            for path in list(within.rglob(f"{_DRAFT}*")):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageUnavailable(f"Cannot write to {self.folder}: {error}") from error

    def url(self, key: str, *, filename: str, media_type: str, expires_s: int) -> str | None:
        return None


@cache
def storage() -> Storage:
    """This process's storage, by the settings."""
    url = urlsplit(settings().storage_url or f"file:{settings().home / 'objects'}")
    if url.scheme == "file":
        return FolderStorage(Path(unquote(url.path)))
    # Imported at need: boto3 takes a sixth of a second, and a folder has no use for it.
    from shared.s3 import S3Storage, make_client, make_signer

    return S3Storage(url.netloc, url.path.strip("/"), make_client(), make_signer())


def put_files(paths: Iterable[Path], prefix: str) -> dict[str, str]:
    """Store local files under `prefix` and their names; returns each one's SHA-256 by name."""
    hashes = {}
    for path in paths:
        with path.open("rb") as source:
            reader = HashingReader(source)
            storage().put(f"{prefix}/{path.name}", reader, media_type=BINARY)
        hashes[path.name] = reader.sha256
    return hashes


def remove(prefix: str) -> None:
    """Delete everything stored under `prefix`."""
    for stored in list(storage().list(f"{prefix}/")):
        storage().delete(stored.key)


def read(key: str) -> bytes:
    """The whole content of a small object. Raises NotFound, StorageUnavailable."""
    with storage().open(key) as source:
        return source.read()


@contextmanager
def stored(key: str, source: Readable, limit: int | None = None) -> Iterator["HashingReader"]:
    """Store a stream, and let the block look at what was read; should either raise, it is deleted.

    Raises TooLarge past `limit` bytes, StorageUnavailable.
    """
    reader = HashingReader(source, limit)
    try:
        storage().put(key, reader, media_type=BINARY)
        yield reader
    except BaseException:
        storage().delete(key)
        raise


class HashingReader:
    """Reads a stream through SHA-256, counting bytes: whoever stores it learns both at its end."""

    def __init__(self, source: Readable, limit: int | None = None):
        self.source = source
        self.limit = limit
        self.bytes = 0
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """Like a file's. Raises TooLarge once more than `limit` bytes have passed."""
        chunk = self.source.read(size)
        self.bytes += len(chunk)
        if self.limit is not None and self.bytes > self.limit:
            raise TooLarge(f"The file is larger than the limit of {self.limit} bytes.")
        self._hash.update(chunk)
        return chunk

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()
