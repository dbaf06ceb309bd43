"""Collecting: the files of an upload, archives opened, each with the label of its place."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from shared.errors import Invalid
from worker.preparation.archives import members
from worker.preparation.files import Kind, Progress, Source, Unreadable, unpacked, unpacked_kind_of
from worker.preparation.labels import TABLE_NAME, LabelTable, folder_label

Reject = Callable[[str, str], None]
"""Takes where an example lies and why it cannot be used."""


@dataclass(frozen=True)
class File:
    """One file: uploaded by itself, or a member of the archive with number `source`.

    `open` gives a seekable stream and may raise Unreadable; it is good until the next file.
    """

    where: str
    name: str
    source: int
    in_archive: bool
    size_bytes: int
    open: Callable[[], AbstractContextManager[BinaryIO]]

    @property
    def is_label_table(self) -> bool:
        return PurePosixPath(self.name).name.casefold() == TABLE_NAME


class Uploads:
    """The uploaded files of one data set."""

    def __init__(self, sources: Sequence[Source]):
        self.sources = sources
        self.bytes = sum(source.path.stat().st_size for source in sources)
        self.tables: dict[int, list[LabelTable]] = {}
        self._kinds = [_kind_of(source) for source in sources]

    def of_kind(self, kind: Kind) -> list[Source]:
        return [
            source
            for source, (own_kind, _) in zip(self.sources, self._kinds, strict=True)
            if own_kind == kind
        ]

    def survey(self, progress: Progress) -> None:
        """Go through everything once: check every archive as a whole, and read the label tables.

        Raises UnsafeContent or Invalid before anything is kept.
        """
        for file in self.files(progress):
            progress.move()
            if file.is_label_table:
                scope = file.source if file.in_archive else -1
                self.tables.setdefault(scope, []).append(_label_table(file))

    def label_of(self, file: File) -> str | None:
        """From a table of its own archive, or one uploaded beside; without any from its folder."""
        tables = self.tables.get(file.source) if file.in_archive else None
        tables = tables or self.tables.get(-1)
        if not tables:
            return folder_label(file.name) if file.in_archive else None
        found = (table.label(file.name) for table in tables if table.covers(file.name))
        return next((label for label in found if label is not None), None)

    def reject_unused_rows(self, reject: Reject) -> None:
        """Report the rows of label tables that name no file."""
        for table in (table for tables in self.tables.values() for table in tables):
            for name in table.unused():
                reject(table.where, f"names {name!r}, which is not among the files")

    def files(self, progress: Progress) -> Iterator[File]:
        """Every file but IDX, which `idx` reads in pairs."""
        for number, source in enumerate(self.sources):
            kind, packed = self._kinds[number]
            if kind in (Kind.IDX_IMAGES, Kind.IDX_LABELS):
                continue
            with progress.opened(source) as raw:
                if kind in (Kind.ZIP, Kind.TAR):
                    yield from _members(raw, source, number, kind, packed)
                else:
                    yield _single(raw, source, number, packed)


def _label_table(file: File) -> LabelTable:
    table = LabelTable(file.where, str(PurePosixPath(file.name).parent).removeprefix("."))
    try:
        with file.open() as stream:
            table.read(stream)
    except Unreadable as error:
        raise Invalid(f"{file.where}: {error}") from None
    return table


def _kind_of(source: Source) -> tuple[Kind, bool]:
    with source.path.open("rb") as raw:
        return unpacked_kind_of(raw)


def _members(
    raw: BinaryIO, source: Source, number: int, kind: Kind, packed: bool
) -> Iterator[File]:
    size_bytes = source.path.stat().st_size
    for member in members(raw, kind, packed, size_bytes, source.filename):
        yield File(member.where, member.name, number, True, member.size_bytes, member.open)


def _single(raw: BinaryIO, source: Source, number: int, packed: bool) -> File:
    size_bytes = source.path.stat().st_size
    name = source.filename.removesuffix(".gz") if packed else source.filename

    def open_single() -> AbstractContextManager[BinaryIO]:
        raw.seek(0)
        stream = unpacked(raw, size_bytes, source.filename) if packed else raw
        return contextlib.nullcontext(stream)

    return File(source.filename, name, number, False, size_bytes, open_single)


def opened(file: File, reject: Reject) -> AbstractContextManager[BinaryIO | None]:
    """The file's stream, or None once it has been rejected."""
    try:
        return file.open()
    except Unreadable as error:
        reject(file.where, str(error))
        return contextlib.nullcontext(None)
