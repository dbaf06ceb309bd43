"""Archives as streams of members: nothing is unpacked by name; what is unsafe fails as a whole."""

import gzip
import mmap
import re
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

from shared.errors import Invalid, UnsafeContent
from worker.preparation.files import Kind, Metered, ReadsInto, Unreadable
from worker.preparation.limits import MAX_MEMBERS, most_unpacked, unpacks_too_far

CHUNK_BYTES = 2**18
IN_MEMORY_BYTES = 8 * 2**20
"""A member above this size waits in an anonymous temporary file while it is read."""

_NOT_CONTENT = re.compile(r"(^|/)(__MACOSX/|\.[^/]*$|Thumbs\.db$|desktop\.ini$)", re.IGNORECASE)
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    ValueError,
    OSError,
)
"""What the readers of archives raise for bytes that are not as they should be."""
_ZIP_MEMBER = b"PK\x01\x02"
_ENCRYPTED = 0x1
_NAME_IS_UTF8 = 0x800


@dataclass(frozen=True)
class Member:
    """One regular file of an archive. `open_packed` is good until the next member is asked for."""

    where: str
    name: str
    size_bytes: int
    open_packed: Callable[[], IO[bytes]]

    def open(self) -> BinaryIO:
        """Its content as a seekable stream. Raises Unreadable where the header was not true."""
        copy = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - the reader closes it
        try:
            for chunk in self._chunks():
                copy.write(chunk)
            if copy.tell() != self.size_bytes:
                raise Unreadable(f"declared as {self.size_bytes} bytes, holds {copy.tell()}")
        except BaseException:
            copy.close()
            raise
        copy.seek(0)
        return cast(BinaryIO, copy)

    def _chunks(self) -> Iterator[bytes]:
        try:
            with self.open_packed() as packed:
                while chunk := packed.read(CHUNK_BYTES):
                    yield chunk
        except _DAMAGE as error:
            raise Unreadable(f"its bytes are damaged: {error}") from None


def members(
    raw: BinaryIO, kind: Kind, packed: bool, size_bytes: int, where: str
) -> Iterator[Member]:
    """The regular files of an archive of `size_bytes`, without what operating systems leave there.

    Raises UnsafeContent naming member and limit, and Invalid where the archive is damaged. Whoever
    runs through all members once without opening any has checked the whole archive.
    """
    walk = _zip_members if kind == Kind.ZIP else _tar_members
    try:
        for member in walk(raw, packed, size_bytes, where):
            if not _NOT_CONTENT.search(member.name):
                yield member
    except (*_DAMAGE, Unreadable) as error:
        raise Invalid(f"{where}: a damaged archive: {error}") from error


def _zip_members(raw: BinaryIO, _packed: bool, size_bytes: int, where: str) -> Iterator[Member]:
    # zipfile loads the whole table of contents: count its entries before.
    with closing(mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)) as view:
        if _more_than(MAX_MEMBERS, view, _ZIP_MEMBER):
            raise _too_many(where)
    total_bytes = 0
    with zipfile.ZipFile(raw) as archive:
        for info in archive.infolist():
            name = _zip_name(info)
            _check_name(name, where)
            _check_mode(info, f"{where}/{name}")
            total_bytes += info.file_size
            if total_bytes > most_unpacked(size_bytes):
                raise unpacks_too_far(f"{where}/{name}", size_bytes)
            if not info.is_dir():
                yield Member(f"{where}/{name}", name, info.file_size, _zip_opener(archive, info))


def _more_than(limit: int, view: mmap.mmap, pattern: bytes) -> bool:
    count, position = 0, view.find(pattern)
    while position >= 0 and count <= limit:
        count += 1
        position = view.find(pattern, position + len(pattern))
    return count > limit


def _zip_opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    def open_packed() -> IO[bytes]:
        if info.flag_bits & _ENCRYPTED:
            raise Unreadable("it is encrypted")
        # Others need unbounded memory to unpack, and no common tool writes them.
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Unreadable("packed with another method than deflate")
        return archive.open(info)

    return open_packed


def _tar_members(raw: BinaryIO, packed: bool, size_bytes: int, where: str) -> Iterator[Member]:
    inner = cast(ReadsInto, gzip.GzipFile(fileobj=raw) if packed else raw)
    stream = Metered(inner, size_bytes, where)
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as archive:
        count = 0
        while (info := archive.next()) is not None:
            name = _readable(info.name.encode("utf-8", "surrogateescape"))
            stream.where = f"{where}/{name}"
            count += 1
            if count > MAX_MEMBERS:
                raise _too_many(stream.where)
            _check_name(name, where)
            _check_type(info, stream.where)
            if info.isreg():
                yield Member(stream.where, name, info.size, _tar_opener(archive, info))
            # tarfile remembers every member it has met; a stream needs none.
            archive.members.clear()  # type: ignore[attr-defined]


def _tar_opener(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    return lambda: cast(IO[bytes], archive.extractfile(info))


def _too_many(where: str) -> UnsafeContent:
    return UnsafeContent(f"{where}: more than {MAX_MEMBERS:,} entries in one archive")


def _check_name(name: str, where: str) -> None:
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise UnsafeContent(f"{where}/{name}: the path of a member must stay inside the archive")


def _check_mode(info: zipfile.ZipInfo, where: str) -> None:
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UnsafeContent(f"{where}: links and devices are not accepted")


def _check_type(info: tarfile.TarInfo, where: str) -> None:
    if info.issparse() or not (info.isreg() or info.isdir()):
        raise UnsafeContent(f"{where}: links, devices and sparse files are not accepted")


def _zip_name(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & _NAME_IS_UTF8:
        return info.filename.replace("\\", "/")
    # Without that flag zipfile reads names as code page 437, whatever wrote them.
    return _readable(info.filename.encode("cp437", "replace"), "cp437")


def _readable(name: bytes, last: str = "latin-1") -> str:
    for encoding in ("utf-8", "gb2312", last):
        try:
            return name.decode(encoding).replace("\\", "/")
        except UnicodeDecodeError:
            continue
    return name.decode("utf-8", "replace")
