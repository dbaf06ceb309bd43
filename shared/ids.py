"""Public ids: a prefix that names the noun, then 26 characters that sort by time of making."""

import re
from datetime import datetime

from ulid import ULID

from shared.errors import NotFound

PREFIXES = {
    "tenant": "tenant_",
    "key": "key_",
    "user": "user_",
    "sign_in": "signin_",
    "file": "file-",
    "upload": "upload_",
    "part": "part_",
    "dataset": "dataset_",
    "job": "job_",
    "model": "model_",
    "version": "version_",
    "checkpoint": "checkpoint_",
    "output": "output_",
    "verdict": "verdict_",
    "webhook": "webhook_",
    "event": "evt_",
}
ITEM_PREFIX = "item_"


def new_id(noun: str) -> str:
    """A fresh id such as `job_01kaw3…`."""
    return PREFIXES[noun] + str(ULID()).lower()


def id_pattern(noun: str) -> str:
    """A regular expression of this noun's ids and of nothing else."""
    return f"^{PREFIXES[noun]}[0-9a-z]{{26}}$"


def first_id(noun: str, moment: datetime) -> str:
    """Below every id that is made at this moment or later, by the clock of whoever makes it."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return PREFIXES[noun] + str(ULID.from_bytes(milliseconds.to_bytes(6) + bytes(10))).lower()


def item_id(number: int) -> str:
    """The public id of an item; items are numbered, because they are many and their rows must be
    narrow.
    """
    return f"{ITEM_PREFIX}{number}"


def item_number(public: str) -> int:
    """The number behind an item's public id. Raises NotFound when it is none."""
    if not re.fullmatch(ITEM_PREFIX + r"\d{1,18}", public):
        raise NotFound(f"No item {public!r}.")
    return int(public.removeprefix(ITEM_PREFIX))
