"""The project's pages, and the examples in them as they are written."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def examples(page: str, language: str = "") -> list[str]:
    """What stands in a page's blocks of that language; without one: in those that name none."""
    return [example for named, example in _BLOCK.findall(text_of(page)) if named == language]
