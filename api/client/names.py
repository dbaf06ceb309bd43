"""File names for what a job made: outputs are called after what a client calls an item; safe on
every file system, never the same twice.
"""

import hashlib
import mimetypes
import re
from pathlib import PurePosixPath
from typing import Any

_KEPT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
"""Custom ids that are names as they are."""
_ITEM = re.compile(r"item_\d+", re.IGNORECASE)
"""What an item without a custom id is called."""
_UNSAFE = re.compile(r"[^\w.-]+")
_MOST_CHARACTERS = 50
"""Of a changed custom id: four bytes each still leave room in a name of 255 bytes."""

_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")

_TYPES = mimetypes.MimeTypes()
"""Python's own table, which is the same on every machine."""


def file_name(output: dict[str, Any], folds_case: bool) -> str:
    """For example `order-7_0.png`; `folds_case`: on this file system `A` and `a` are one name."""
    stem = output["item"] if output["custom_id"] is None else _stem(output["custom_id"], folds_case)
    return f"{stem}_{int(output['index'])}{_extension(output['media_type'])}"


def result_name(field: str, filename: str) -> str:
    """For example `error_file.jsonl`: no output's name, for those end in their index."""
    suffix = PurePosixPath(filename).suffix
    return f"{field}{suffix}" if _SUFFIX.fullmatch(suffix) else field


def _stem(custom_id: str, folds_case: bool) -> str:
    """The custom id; where it had to be changed, with a hash, which no unchanged one has."""
    is_name = _KEPT.fullmatch(custom_id) and not _ITEM.fullmatch(custom_id)
    if is_name and not (folds_case and custom_id != custom_id.lower()):
        return custom_id
    readable = _UNSAFE.sub("-", custom_id).lstrip(".-")[:_MOST_CHARACTERS]
    digest = hashlib.sha256(custom_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{readable}~{digest[:16]}"


def _extension(media_type: str) -> str:
    kind = media_type.partition(";")[0].strip()
    return _TYPES.guess_extension(kind, strict=False) or ".bin"
