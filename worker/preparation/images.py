"""Images as they are found: in archives, single files, IDX and Parquet; none is decoded here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow

from worker.preparation import idx, parquet
from worker.preparation.collect import File, Reject, Uploads, opened
from worker.preparation.files import Kind, Progress, Unreadable, kind_of
from worker.preparation.labels import label_text
from worker.preparation.limits import MAX_IMAGE_BYTES


@dataclass(frozen=True)
class Candidate:
    """One image as it was found: an encoded file, or the pixels (H, W, 1) of an IDX image."""

    where: str
    content: bytes | np.ndarray
    label: str | None


def candidates(uploads: Uploads, progress: Progress, reject: Reject) -> Iterator[Candidate]:
    """Every image of the uploads, not decoded yet."""
    for pair in idx.pairs(uploads):
        for image in idx.images_of(pair, progress, reject):
            yield Candidate(image.where, image.pixels_hwc, image.label)
    for file in uploads.files(progress):
        if file.is_label_table:
            continue
        with opened(file, reject) as stream:
            if stream is None:
                continue
            try:
                yield from _candidates_of(stream, file, uploads, reject)
            except Unreadable as error:
                reject(file.where, str(error))


def _candidates_of(
    stream: BinaryIO, file: File, uploads: Uploads, reject: Reject
) -> Iterator[Candidate]:
    kind = kind_of(stream)
    if kind == Kind.PARQUET:
        yield from _parquet(stream, file, reject)
        return
    if kind != Kind.OTHER:
        raise Unreadable(f"a file of kind {kind} where an image was expected")
    content = stream.read(MAX_IMAGE_BYTES + 1)
    if len(content) > MAX_IMAGE_BYTES:
        raise Unreadable(f"more than {MAX_IMAGE_BYTES:,} bytes")
    yield Candidate(file.where, content, uploads.label_of(file))


def _parquet(stream: BinaryIO, file: File, reject: Reject) -> Iterator[Candidate]:
    for number, row in parquet.rows(stream, file.size_bytes, file.where, _image_columns):
        where = f"{file.where}:{number}"
        try:
            content, label = _image_and_label(row or {})
            yield Candidate(where, content, label)
        except Unreadable as error:
            reject(where, str(error))


def _image_columns(schema: pyarrow.Schema) -> list[str]:
    image = next((field.name for field in schema if _holds_bytes(field.type)), None)
    if image is None:
        raise Unreadable("no column with the bytes of images")
    return [image, *(["label"] if "label" in schema.names else [])]


def _holds_bytes(kind: pyarrow.DataType) -> bool:
    # A struct of bytes and path is how the datasets library stores images.
    if pyarrow.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))


def _image_and_label(row: dict) -> tuple[bytes, str | None]:
    content = next((value for name, value in row.items() if name != "label"), None)
    if isinstance(content, dict):
        content = content["bytes"]
    if not isinstance(content, bytes) or len(content) > MAX_IMAGE_BYTES:
        raise Unreadable("no image, or too large")
    return content, label_text(row.get("label"))
