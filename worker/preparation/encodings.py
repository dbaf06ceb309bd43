"""Lines of text out of bytes in whatever encoding a file has."""

import codecs
import io
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from charset_normalizer import from_bytes

from worker.preparation.files import Unreadable
from worker.preparation.limits import MAX_LINE_CHARACTERS

_CHUNK_BYTES = 2**18
MARK = "\udcff"
"""Stands where bytes could not be decoded: a code point that no encoding can produce."""
_MARKING = "atelier-mark"
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    # Before UTF-16, whose mark begins the one of UTF-32.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CANDIDATES = ["gb18030", "big5", "shift_jis", "euc_jp", "euc_kr", "cp1252", "cp1251"]
"""What a file may be that is not Unicode. A short list: among all encodings Latin text is often
taken for one of the rare ones. cp1252 also reads Latin-1."""


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return MARK, error.end


codecs.register_error(_MARKING, _mark)


def encoding_of(raw: BinaryIO) -> str:
    """The encoding of a seekable stream, which is left at its start.

    A byte order mark decides; then UTF-8, if at least nine in ten of the characters beyond ASCII
    are valid (single damaged lines are rejected later); then charset-normalizer, on the part around
    the first byte that is not UTF-8. Raises Unreadable where nothing fits.
    """
    head = raw.read(4096)
    raw.seek(0)
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    if b"\0" in head:
        return _wide_encoding_of(head)
    wrong, beyond_ascii, sample = _try_utf8(raw)
    raw.seek(0)
    if wrong * 10 <= beyond_ascii:
        return "utf-8"
    return _guess(sample)


def lines(raw: BinaryIO, encoding: str) -> Iterator[tuple[int, str | None]]:
    """Number (from 1) and text of each line, its line end `\\n` kept; None if it is not readable.

    A line is not readable with bytes that the encoding does not have, or when it is too long.
    """
    text = io.TextIOWrapper(raw, encoding, errors=_MARKING)
    number = 0
    try:
        while line := text.readline(MAX_LINE_CHARACTERS):
            number += 1
            whole = line.endswith("\n") or len(line) < MAX_LINE_CHARACTERS
            yield number, line if whole and MARK not in line else None
            while not whole:
                rest = text.readline(MAX_LINE_CHARACTERS)
                whole = rest.endswith("\n") or len(rest) < MAX_LINE_CHARACTERS
    finally:
        # Whoever stops early may have closed the stream by now.
        with suppress(ValueError):
            text.detach()


def _wide_encoding_of(head: bytes) -> str:
    """UTF-16 without a mark, if `head` reads as text in one of its two orders."""
    for encoding in ("utf-16-le", "utf-16-be"):
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(head)
        except UnicodeDecodeError:
            continue
        if not any(
            unicodedata.category(c) in ("Cc", "Cn", "Co") and c not in "\t\n\r" for c in text
        ):
            return encoding
    raise Unreadable("it is not text")


def _try_utf8(raw: BinaryIO) -> tuple[int, int, bytes]:
    """Bytes that are not UTF-8, characters beyond ASCII that are, and the first wrong part."""
    decoder = codecs.getincrementaldecoder("utf-8")(_MARKING)
    wrong = beyond_ascii = 0
    sample = before = b""
    while chunk := raw.read(_CHUNK_BYTES):
        text = decoder.decode(chunk)
        marks = text.count(MARK)
        if marks and not sample:
            sample = _around_first_wrong_byte(before + chunk)
        wrong += marks
        beyond_ascii += len(text) - len(text.encode("ascii", "ignore")) - marks
        before = chunk[-4:]
    wrong += decoder.decode(b"", final=True).count(MARK)
    return wrong, beyond_ascii, sample or before


def _around_first_wrong_byte(part: bytes) -> bytes:
    try:
        part.decode("utf-8")
    except UnicodeDecodeError as error:
        # From a line's start, so that no character of two bytes is cut.
        start = part.rfind(b"\n", 0, error.start) + 1
        end = part.rfind(b"\n", start, start + 2**16)
        return part[start : end if end > error.start else start + 2**16]
    return part


def _guess(sample: bytes) -> str:
    best = from_bytes(sample, cp_isolation=_CANDIDATES).best()
    if best is not None and best.encoding != "cp1251":
        return best.encoding
    # A few letters with accents are too little for statistics; Cyrillic would be most of a text.
    plain = sum(byte in b"\t\n\r" or 32 <= byte < 127 for byte in sample)
    if plain >= 0.7 * len(sample) and not any(byte < 9 or 13 < byte < 32 for byte in sample):
        return "cp1252"
    if best is not None:
        return best.encoding
    raise Unreadable("its characters are in no encoding that is known here")
