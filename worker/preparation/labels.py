"""Labels of files: from a `labels.csv`, or else from the folder that a file lies in."""

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from shared.services.outputs import MAX_LABEL
from worker.preparation.encodings import encoding_of, lines
from worker.preparation.files import Unreadable
from worker.preparation.limits import MAX_EXAMPLES

TABLE_NAME = "labels.csv"
COLUMNS = ("filename", "label")


class LabelTable:
    """The rows of one `labels.csv`: labels by the path of a file, seen from the table's folder."""

    def __init__(self, where: str, folder: str = ""):
        self.where = where
        self.folder = folder
        self.labels: dict[str, str | None] = {}
        self.used: set[str] = set()

    def read(self, raw: BinaryIO) -> None:
        """Take in the table's rows. Raises Unreadable where it lacks a column or is not text."""
        try:
            table = csv.reader(_readable_lines(raw))
            header = [cell.strip().casefold() for cell in next(table, [])]
            if not set(COLUMNS) <= set(header):
                raise Unreadable(f"needs the columns filename and label; has {header}")
            name_at, label_at = (header.index(column) for column in COLUMNS)
            for row in table:
                if len(self.labels) == MAX_EXAMPLES:
                    raise Unreadable(f"more than {MAX_EXAMPLES:,} rows")
                if len(row) > max(name_at, label_at):
                    self.labels[_normal(row[name_at])] = label_text(row[label_at])
        except csv.Error as error:
            raise Unreadable(str(error)) from None

    def covers(self, path: str) -> bool:
        """Whether a file lies in the table's folder or below."""
        return not self.folder or path.startswith(f"{self.folder}/")

    def label(self, path: str) -> str | None:
        """The label of a file, by its path or, for a row without folders, by its bare name."""
        inside = _normal(path.removeprefix(f"{self.folder}/" if self.folder else ""))
        for key in (inside, PurePosixPath(inside).name):
            if key in self.labels:
                self.used.add(key)
                return self.labels[key]
        return None

    def unused(self) -> Iterator[str]:
        """Rows that name no file."""
        return (name for name in self.labels if name not in self.used)


def folder_label(path: str) -> str | None:
    """The name of the folder that the file lies in."""
    return label_text(PurePosixPath(path).parent.name)


def label_text(value: Any) -> str | None:
    """A label as text in NFC without control characters; None for nothing.

    Raises Unreadable for what is neither text nor a number.
    """
    if value is None:
        return None
    if not isinstance(value, str | int | float):
        raise Unreadable("its label is neither text nor a number")
    text = unicodedata.normalize("NFC", str(value))
    text = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text).strip()
    if len(text) > MAX_LABEL:
        raise Unreadable(f"its label is longer than {MAX_LABEL} characters")
    return text or None


def in_natural_order(labels: Iterable[str]) -> list[str]:
    """`2` before `10`: runs of digits compare as numbers."""

    def key(label: str) -> tuple[list[tuple[bool, int, str]], str]:
        runs = re.findall(r"[0-9]+|[^0-9]+", label)
        return [(run[0] > "9", int(run) if run[0].isdigit() else 0, run) for run in runs], label

    return sorted(labels, key=key)


def _normal(path: str) -> str:
    return str(PurePosixPath(path.strip().replace("\\", "/")))


def _readable_lines(raw: BinaryIO) -> Iterator[str]:
    for number, line in lines(raw, encoding_of(raw)):
        if line is None:
            raise Unreadable(f"line {number} cannot be decoded")
        yield line
