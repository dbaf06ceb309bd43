"""Uploaded files as streams: what kind each is, bounded unpacking, and progress."""

import gzip
import io
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from shared.errors import Stopped, UnsafeContent
from worker.preparation.limits import MAX_HEADER_BYTES, most_unpacked, unpacks_too_far

if TYPE_CHECKING:
    from worker.family import Run

HEAD_BYTES = 512
REPORT_EVERY_S = 0.1
_GZIP_DAMAGE = (gzip.BadGzipFile, EOFError, zlib.error)


@dataclass(frozen=True)
class Source:
    """One uploaded file: where it lies, and its name as uploaded (never used as a path)."""

    path: Path
    filename: str


class Unreadable(Exception):
    """One file or example cannot be used; the message says why."""


class Kind(StrEnum):
    """What a file is, by its first bytes."""

    ZIP = "zip"
    TAR = "tar"
    GZIP = "gzip"
    PARQUET = "parquet"
    IDX_IMAGES = "idx images"
    IDX_LABELS = "idx labels"
    OTHER = "other"


class ReadsInto(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...
    def seek(self, offset: int, whence: int = ..., /) -> int: ...
    def tell(self) -> int: ...


class Metered(io.RawIOBase):
    """An unpacking stream that refuses to give more than its packed size allows.

    Raises UnsafeContent naming `where`, which whoever reads an archive keeps at the current member,
    and Unreadable for damaged gzip data.
    """

    def __init__(self, inner: ReadsInto, packed_bytes: int, where: str):
        self.inner = inner
        self.packed_bytes = packed_bytes
        self.where = where

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.inner.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        # Skipping forward in a packed stream unpacks all between: refuse before doing so.
        if whence == io.SEEK_SET and offset > most_unpacked(self.packed_bytes):
            raise unpacks_too_far(self.where, self.packed_bytes)
        with _damage():
            return self.inner.seek(offset, whence)

    def read(self, size: int = -1, /) -> bytes:
        # The size may come from a forged header, and the memory for it is taken before reading.
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise UnsafeContent(
                f"{self.where}: a header of {size:,} bytes; the limit is {MAX_HEADER_BYTES:,}"
            )
        return super().read(size) or b""

    def readinto(self, buffer, /) -> int:
        with _damage():
            read = self.inner.readinto(buffer) or 0
        if self.tell() > most_unpacked(self.packed_bytes):
            raise unpacks_too_far(self.where, self.packed_bytes)
        return read


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except _GZIP_DAMAGE as error:
        raise Unreadable(f"damaged gzip data: {error}") from None


class Progress:
    """How far the preparation is, by the bytes of the uploads read so far in this pass."""

    def __init__(self, run: "Run", sources_bytes: int, start: float, end: float):
        self.run = run
        self.total = max(1, sources_bytes)
        self.start = start
        self.end = end
        self.done = 0
        self.raw: BinaryIO | None = None
        self.last_report_s = 0.0

    def move(self) -> None:
        """Report, and raise Stopped where the host asks to stop. Called for every example."""
        if time.monotonic() - self.last_report_s < REPORT_EVERY_S:
            return
        self.last_report_s = time.monotonic()
        if self.run.should_stop():
            raise Stopped
        here = self.raw.tell() if self.raw and not self.raw.closed else 0
        fraction = min(1.0, (self.done + here) / self.total)
        self.run.progress(self.start + (self.end - self.start) * fraction)

    @contextmanager
    def opened(self, source: Source) -> Iterator[BinaryIO]:
        with source.path.open("rb") as raw:
            self.raw = raw
            yield raw
        self.raw = None
        self.done += source.path.stat().st_size


def kind_of(raw: BinaryIO) -> Kind:
    """The kind of a seekable stream, which is left at its start."""
    kind = _kind_of_head(raw.read(HEAD_BYTES))
    raw.seek(0)
    return kind


def unpacked_kind_of(raw: BinaryIO) -> tuple[Kind, bool]:
    """The kind of a seekable stream, looking inside gzip, and whether it is packed with gzip."""
    kind = kind_of(raw)
    if kind != Kind.GZIP:
        return kind, False
    try:
        head = gzip.GzipFile(fileobj=raw).read(HEAD_BYTES)
    except _GZIP_DAMAGE:
        head = b""
    raw.seek(0)
    return _kind_of_head(head), True


def unpacked(raw: BinaryIO, packed_bytes: int, where: str) -> BinaryIO:
    """The content of a gzip stream, bounded and buffered."""
    return cast(
        BinaryIO,
        io.BufferedReader(
            Metered(cast(ReadsInto, gzip.GzipFile(fileobj=raw)), packed_bytes, where), 2**18
        ),
    )


def _kind_of_head(head: bytes) -> Kind:
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return Kind.ZIP
    if head[:2] == b"\x1f\x8b":
        return Kind.GZIP
    if head[:4] == b"PAR1":
        return Kind.PARQUET
    # IDX: two zero bytes, the type (8: unsigned bytes), the number of dimensions.
    if head[:4] == b"\x00\x00\x08\x03":
        return Kind.IDX_IMAGES
    if head[:4] == b"\x00\x00\x08\x01":
        return Kind.IDX_LABELS
    if head[257:262] == b"ustar":
        return Kind.TAR
    return Kind.OTHER
