"""Where files lie: an S3 bucket in production, a folder on one machine; the same keys in both.

A key is a path of plain segments. Writing a key twice leaves the last content; nothing is ever half
there.
"""

import hashlib
import io
import os
import shutil
import tempfile
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import quote, unquote, urlsplit

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared.errors import Invalid, NotFound, StorageUnavailable, TooLarge
from shared.settings import settings

CHUNK_BYTES = 1 << 20
_ONE_PUT_BYTES = 8 << 20
"""What goes to S3 in one request; more goes in parts."""
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
            return tempfile.NamedTemporaryFile(dir=path.parent, prefix=".put-", delete=False)
        except FileNotFoundError:
            # Not made beforehand each time: most puts find their folder there.
            path.parent.mkdir(parents=True, exist_ok=True)
            return tempfile.NamedTemporaryFile(dir=path.parent, prefix=".put-", delete=False)

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
            if key.startswith(prefix) and path.is_file() and not path.name.startswith(".put-"):
                with suppress(FileNotFoundError):  # deleted meanwhile
                    stat = path.stat()
                    yield Stored(key, stat.st_size, stat.st_mtime)

    def url(self, key: str, *, filename: str, media_type: str, expires_s: int) -> str | None:
        return None


class S3Storage:
    """Objects in a bucket of Amazon S3 or of a server that speaks its protocol."""

    def __init__(self, bucket: str, prefix: str, client: Any, signer: Any | None = None):
        """`signer` has an endpoint that clients can reach; without one no links are given."""
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.client = client
        self.signer = signer

    def put(self, key: str, source: Readable, *, media_type: str) -> None:
        start = _read_up_to(_ONE_PUT_BYTES + 1, source)
        where = {"Bucket": self.bucket, "Key": self.prefix + key}
        with _s3_faults(key):
            if len(start) <= _ONE_PUT_BYTES:
                # A checksum that every server knows: it refuses a body that came damaged.
                md5 = b64encode(hashlib.md5(start, usedforsecurity=False).digest()).decode()
                self.client.put_object(**where, Body=start, ContentMD5=md5, ContentType=media_type)
            else:
                self.client.upload_fileobj(
                    _Joined(start, source), **where, ExtraArgs={"ContentType": media_type}
                )

    def open(self, key: str) -> IO[bytes]:
        with _s3_faults(key):
            found = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)
        return io.BufferedReader(_Body(found["Body"], key), CHUNK_BYTES)

    def delete(self, key: str) -> None:
        with _s3_faults(key):
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def list(self, prefix: str) -> Iterator[Stored]:
        with _s3_faults(prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    key = found["Key"].removeprefix(self.prefix)
                    yield Stored(key, found["Size"], found["LastModified"].timestamp())

    def url(self, key: str, *, filename: str, media_type: str, expires_s: int) -> str | None:
        if self.signer is None:
            return None
        # Type and disposition are part of the signature: what was uploaded cannot pose as a page.
        return self.signer.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self.bucket,
                "Key": self.prefix + key,
                "ResponseContentType": media_type,
                # In the encoded form, so that no name can end the header's value early.
                "ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(filename, '')}",
            },
            ExpiresIn=expires_s,
        )


class _Joined:
    """A stream whose start was read already."""

    def __init__(self, start: bytes, rest: Readable):
        self.start = io.BytesIO(start)
        self.rest = rest

    def read(self, size: int = -1, /) -> bytes:
        begun = self.start.read(size)
        if size < 0:
            return begun + self.rest.read()
        return begun + _read_up_to(size - len(begun), self.rest)


def _read_up_to(size: int, source: Readable) -> bytes:
    """So many bytes, or all that are left: a single read may give fewer."""
    found = bytearray()
    while len(found) < size and (chunk := source.read(size - len(found))):
        found += chunk
    return bytes(found)


class _Body(io.RawIOBase):
    """An object's bytes as they come, with the network's faults turned into ours."""

    def __init__(self, body: Any, key: str):
        self.body = body
        self.key = key

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _s3_faults(self.key):
            chunk = self.body.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self.body.close()
        super().close()


@contextmanager
def _s3_faults(key: str) -> Iterator[None]:
    """Turns boto3's errors into ours."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
            raise NotFound(f"Nothing is stored under {key!r}.") from None
        raise StorageUnavailable(f"The object storage failed: {error}") from error
    except (BotoCoreError, Boto3Error) as error:
        raise StorageUnavailable(f"The object storage failed: {error}") from error


def make_s3_client(endpoint: str | None = None) -> Any:
    """A boto3 client by the settings, or for another endpoint of the same server.

    Signature version 4 always: presigning may fall back to 2.
    """
    ours = settings()
    secret = {
        name: value.get_secret_value()
        for name, value in (
            ("aws_access_key_id", ours.s3_access_key),
            ("aws_secret_access_key", ours.s3_secret_key),
        )
        if value is not None
    }
    config = Config(
        signature_version="s3v4",
        retries={"mode": "standard", "max_attempts": 4},
        connect_timeout=5,
        read_timeout=30,
        max_pool_connections=16,
        request_checksum_calculation=ours.s3_checksums,
        response_checksum_validation=ours.s3_checksums,
    )
    return boto3.client(
        "s3",
        endpoint_url=endpoint or ours.s3_endpoint,
        region_name=ours.s3_region,
        config=config,
        **secret,
    )


def _make_signer() -> Any | None:
    """What signs links: everybody reaches AWS; another server only where the settings say so."""
    ours = settings()
    if ours.s3_endpoint is not None and ours.s3_public_endpoint is None:
        return None
    return make_s3_client(ours.s3_public_endpoint)


@cache
def storage() -> Storage:
    """This process's storage, by the settings."""
    url = urlsplit(settings().storage_url or f"file:{settings().home / 'objects'}")
    if url.scheme == "file":
        return FolderStorage(Path(unquote(url.path)))
    return S3Storage(url.netloc, url.path.strip("/"), make_s3_client(), _make_signer())


def put_files(paths: Iterable[Path], prefix: str) -> dict[str, str]:
    """Store local files under `prefix` and their names; returns each one's SHA-256 by name."""
    hashes = {}
    for path in paths:
        with path.open("rb") as source:
            reader = HashingReader(source)
            storage().put(f"{prefix}/{path.name}", reader, media_type=BINARY)
        hashes[path.name] = reader.sha256
    return hashes


def read(key: str) -> bytes:
    """The whole content of a small object. Raises NotFound, StorageUnavailable."""
    with storage().open(key) as source:
        return source.read()


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
