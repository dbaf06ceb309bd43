"""Rows of Parquet files, a few at a time."""

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pyarrow
from pyarrow.parquet import ParquetFile

from shared.errors import UnsafeContent
from worker.preparation.files import Unreadable
from worker.preparation.limits import MAX_ROW_GROUP_BYTES, most_unpacked, unpacks_too_far

ROWS_AT_ONCE = 32
"""A dictionary makes one long value cheap to repeat in the file, but not in memory."""

Choose = Callable[[pyarrow.Schema], list[str]]


def rows(
    raw: BinaryIO, size_bytes: int, where: str, choose: Choose
) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Number (from 1) and values of each row in the chosen columns; None where text is not UTF-8.

    `choose` gets the schema and may raise Unreadable, as this does for a damaged file. Raises
    UnsafeContent for a file that unpacks too far.
    """
    try:
        file = ParquetFile(raw, buffer_size=2**20)
        _check_sizes(file, size_bytes, where)
        number = 0
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=choose(file.schema_arrow)):
            for index in range(batch.num_rows):
                number += 1
                yield number, _row(batch, index)
    except (pyarrow.ArrowException, OSError) as error:
        raise Unreadable(f"a damaged Parquet file: {error}") from None


def _check_sizes(file: ParquetFile, size_bytes: int, where: str) -> None:
    groups = [file.metadata.row_group(k).total_byte_size for k in range(file.num_row_groups)]
    if sum(groups) > most_unpacked(size_bytes):
        raise unpacks_too_far(where, size_bytes)
    if max(groups, default=0) > MAX_ROW_GROUP_BYTES:
        raise UnsafeContent(
            f"{where}: a row group of {max(groups):,} bytes; the limit is {MAX_ROW_GROUP_BYTES:,}"
        )


def _row(batch: pyarrow.RecordBatch, index: int) -> dict[str, Any] | None:
    try:
        return {name: batch.column(name)[index].as_py() for name in batch.schema.names}
    except UnicodeDecodeError:
        return None
