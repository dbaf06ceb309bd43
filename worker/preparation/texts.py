"""Text: documents out of tables and plain files, cleaned, and the language of each."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import pyarrow

from shared.preparation import TextOptions
from worker.dataset import Span
from worker.preparation import parquet
from worker.preparation.blocks import blocks
from worker.preparation.collect import File, Reject, Uploads, opened
from worker.preparation.encodings import MARK, encoding_of, lines
from worker.preparation.examples import example_of
from worker.preparation.files import Kind, Progress, Unreadable, kind_of, unpacked
from worker.preparation.labels import label_text
from worker.preparation.limits import MAX_LINE_CHARACTERS

# A document in a cell may be long; the module's own limit is 131,072 characters.
csv.field_size_limit(MAX_LINE_CHARACTERS)

UNREADABLE_LINE = "cannot be decoded, or is too long"


@dataclass(frozen=True)
class Document:
    """One document as it was found."""

    where: str
    text: str
    label: str | None
    learnt: tuple[Span, ...] | None = None
    """Of an example to imitate, what is to be learnt; its text is as it is to be stored."""


def documents(
    uploads: Uploads, options: TextOptions, progress: Progress, reject: Reject
) -> Iterator[Document]:
    """Every document of the uploads. Tables: a row each. Plain files: see `blocks`.

    A row without the column of the text may be an example to imitate: see `examples`.
    """
    for file in uploads.files(progress):
        if file.is_label_table:
            continue
        with opened(file, reject) as stream:
            if stream is None:
                continue
            label = uploads.label_of(file)
            try:
                yield from _documents_of(stream, file, label, options, reject)
            except (Unreadable, csv.Error) as error:
                reject(file.where, str(error))


def _documents_of(
    stream: BinaryIO, file: File, label: str | None, options: TextOptions, reject: Reject
) -> Iterator[Document]:
    kind = kind_of(stream)
    suffix = PurePosixPath(file.name).suffix.casefold()
    where = file.where
    if kind == Kind.GZIP and file.in_archive:
        stream = unpacked(stream, file.size_bytes, where)
        suffix = PurePosixPath(file.name.removesuffix(".gz")).suffix.casefold()
        kind = kind_of(stream)
    if kind == Kind.PARQUET:
        yield from _parquet(stream, file.size_bytes, where, options, reject)
    elif kind != Kind.OTHER:
        raise Unreadable(f"a file of kind {kind} where text was expected")
    elif suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(stream, where, options, reject)
    elif suffix == ".csv":
        yield from _csv(stream, where, options, reject)
    elif suffix in (".txt", ".md", ""):
        yield from _plain(stream, where, label, reject)
    else:
        raise Unreadable("not one of the kinds .txt, .md, .jsonl, .csv, .parquet")


def _plain(stream: BinaryIO, where: str, label: str | None, reject: Reject) -> Iterator[Document]:
    def readable() -> Iterator[tuple[int, str]]:
        for number, line in lines(stream, encoding_of(stream)):
            if line is None:
                reject(f"{where}:{number}", UNREADABLE_LINE)
            else:
                yield number, line

    empty = True
    for number, text in blocks(readable()):
        empty = False
        yield Document(f"{where}:{number}", text, label)
    if empty:
        raise Unreadable("it is empty")


def _json_lines(
    stream: BinaryIO, where: str, options: TextOptions, reject: Reject
) -> Iterator[Document]:
    for number, line in lines(stream, encoding_of(stream)):
        at = f"{where}:{number}"
        if line is None:
            reject(at, UNREADABLE_LINE)
        elif line.strip():
            try:
                yield _document(_json_object(line), at, options)
            except Unreadable as error:
                reject(at, str(error))


def _json_object(line: str) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Unreadable("not a JSON object")
    return value


def _csv(stream: BinaryIO, where: str, options: TextOptions, reject: Reject) -> Iterator[Document]:
    # A line that cannot be decoded stays in place, so that quotes and numbers of lines stay right.
    decoded = (line or f"{MARK}\n" for _, line in lines(stream, encoding_of(stream)))
    table = csv.reader(decoded)
    header = [name.strip() for name in next(table, [])]
    _need(header, options)
    for cells in table:
        at = f"{where}:{table.line_num}"
        if any(MARK in cell for cell in cells):
            reject(at, UNREADABLE_LINE)
        elif cells and len(cells) != len(header):
            reject(at, f"{len(cells)} cells, but the header has {len(header)}")
        elif cells:
            try:
                yield _document(dict(zip(header, cells, strict=True)), at, options)
            except Unreadable as error:
                reject(at, str(error))


def _parquet(
    stream: BinaryIO, size_bytes: int, where: str, options: TextOptions, reject: Reject
) -> Iterator[Document]:
    def choose(schema: pyarrow.Schema) -> list[str]:
        _need(schema.names, options)
        return [options.column, *([options.label_column] if options.label_column else [])]

    for number, row in parquet.rows(stream, size_bytes, where, choose):
        at = f"{where}:{number}"
        try:
            if row is None:
                raise Unreadable(UNREADABLE_LINE)
            yield _document(row, at, options)
        except Unreadable as error:
            reject(at, str(error))


def _need(names: list[str], options: TextOptions) -> None:
    for column in (options.column, options.label_column):
        if column is not None and column not in names:
            raise Unreadable(f"no column {column!r}; it has {', '.join(map(repr, names[:20]))}")


def _document(row: Mapping[str, Any], where: str, options: TextOptions) -> Document:
    text = row.get(options.column)
    label = label_text(row.get(options.label_column)) if options.label_column else None
    if text is None and (example := example_of(row)) is not None:
        return Document(where, example.text, label, example.learnt)
    if text is None:
        raise Unreadable(f"no {options.column!r}; it has {', '.join(map(repr, list(row)[:20]))}")
    if not isinstance(text, str):
        raise Unreadable(f"{options.column!r} is not text")
    return Document(where, text, label)
