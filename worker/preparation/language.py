"""The language of a document, as an ISO 639 code."""

from functools import cache
from typing import Any

READ_CHARACTERS = 1_000
"""The beginning says it; the rest would only cost time."""
FEWEST_BYTES = 20
"""Below this much UTF-8 (seven Chinese characters, twenty Latin letters) it would be a guess."""
UNDETERMINED = "und"
_WRITTEN_CHINESE = {"yue": "zh", "wuu": "zh"}
"""Classical Chinese is often taken for one of the living varieties: count them as one."""


def language_of(text: str) -> str:
    """ISO 639 code, or `und` where the text is too short to tell."""
    text = text[:READ_CHARACTERS]
    if len(text.encode("utf-8")) < FEWEST_BYTES:
        return UNDETERMINED
    code = _classifier().classify(text)[0]
    return _WRITTEN_CHINESE.get(code, code)


@cache
def _classifier() -> Any:
    # Loads its model on import: only a text worker pays for it.
    import py3langid

    return py3langid
