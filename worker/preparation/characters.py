"""Characters of a text as they are stored: one form of each, one line end, no control characters.

Source: Unicode Standard Annex 15 (NFC), 14 (line ends).
"""

import re
import unicodedata

# Control characters, byte order marks and lone surrogates. Joiners stay: scripts need them.
_NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ud800-\udfff\ufffe\uffff]")


def tidy(text: str) -> str:
    """NFC; `\\n` ends every line; no control characters but tab."""
    text = re.sub("\r\n|[\r\x85\u2028\u2029]", "\n", text)
    return _NOT_TEXT.sub("", unicodedata.normalize("NFC", text))


def clean(text: str) -> str:
    """The same, with nothing around it."""
    return tidy(text).strip()
