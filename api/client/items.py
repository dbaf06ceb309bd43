"""Files of items as people write them, JSONL or CSV, turned into the JSONL that the API takes.

Lines keep their numbers, so that what the server says of line 7 is true of the file at hand.
"""

import csv
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from api.client.faults import BadFile
from shared import strict_json

Kinds = dict[str, set[str]]
"""JSON types that a family's parameters may have, by name."""

_STDIN = "-"
_BOM = b"\xef\xbb\xbf"
_CUSTOM_ID = "custom_id"
_KINDS_OF_VALUES: dict[type, set[str]] = {
    bool: {"boolean"},
    int: {"integer", "number"},
    float: {"integer", "number"},
    dict: {"object"},
    list: {"array"},
}


@contextmanager
def opened(file: str, kinds: Callable[[], Kinds]) -> Iterator[tuple[str, IO[bytes]]]:
    """The file's name and its items as JSONL; `kinds` is asked for the columns of a CSV file.

    Raises BadFile.
    """
    with tempfile.TemporaryFile() as lines:
        lines.writelines(_items(file, kinds))
        lines.seek(0)
        yield f"{'items' if file == _STDIN else Path(file).stem}.jsonl", lines


def _items(file: str, kinds: Callable[[], Kinds]) -> Iterator[bytes]:
    if file.lower().endswith(".csv"):
        with open(file, encoding="utf-8-sig", newline="") as text:
            yield from _from_csv(text, kinds())
    else:
        with click.open_file(file, "rb") as source:
            yield from map(_from_line, source)


def _from_line(line: bytes) -> bytes:
    """An item in the short form, its params alone, as an item; any other line as it is.

    What is wrong with a line, the server says.
    """
    try:
        value = strict_json.loads(line.removeprefix(_BOM))
    except ValueError:
        return line
    if not isinstance(value, dict) or "params" in value:
        return line
    return _item(value)


def _item(fields: dict[str, Any]) -> bytes:
    item = {_CUSTOM_ID: fields.pop(_CUSTOM_ID)} if _CUSTOM_ID in fields else {}
    return json.dumps({**item, "params": fields}).encode() + b"\n"


def _from_csv(text: Iterable[str], kinds: Kinds) -> Iterator[bytes]:
    rows = csv.reader(text, strict=True)
    try:
        header = _header(next(rows, []))
        yield b"\n"  # in the header's place
        for number, row in enumerate(rows, 2):
            yield _item(_fields(header, row, number, kinds)) if any(row) else b"\n"
    except csv.Error as error:
        raise BadFile(f"line {rows.line_num}: not CSV: {error}") from None
    except UnicodeDecodeError:
        raise BadFile("the file is not UTF-8: save it as CSV UTF-8") from None


def _header(names: list[str]) -> list[str]:
    for position, name in enumerate(names, 1):
        if not name:
            raise BadFile(f"row 1: column {position} has no name")
    if len(set(names)) < len(names):
        raise BadFile("row 1: two columns have the same name")
    return names


def _fields(header: list[str], row: list[str], number: int, kinds: Kinds) -> dict[str, Any]:
    """A row's cells by column; an empty one says nothing."""
    if len(row) > len(header):
        raise BadFile(f"row {number}: {len(row)} cells under {len(header)} columns")
    return {
        name: _value(cell, kinds.get(name, set()))
        for name, cell in zip(header, row, strict=False)
        if cell
    }


def _value(cell: str, kinds: set[str]) -> Any:
    """The cell as the JSON value that the parameter may be, otherwise as text."""
    try:
        value = strict_json.loads(cell)
    except ValueError:
        return cell
    return value if _KINDS_OF_VALUES.get(type(value), set()) & kinds else cell


def kinds_of(schema: dict[str, Any]) -> Kinds:
    """What a family's JSON Schema says of each parameter."""
    definitions = schema.get("$defs", {})
    return {name: _kinds(each, definitions) for name, each in schema["properties"].items()}


def _kinds(schema: dict[str, Any], definitions: dict[str, Any]) -> set[str]:
    if "$ref" in schema:
        return _kinds(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    found = {schema["type"]} if "type" in schema else set()
    for choice in schema.get("anyOf", ()):
        found |= _kinds(choice, definitions)
    return found
