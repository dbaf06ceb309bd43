"""Text to bytes and back."""

import pytest

from worker.family import Text
from worker.text.media import decode, encode


@pytest.mark.parametrize("text", ["", "plain", "两种语言 and 🙂", "line\nbreak\r\n\ttab"])
def test_a_text_survives_its_file(text: str) -> None:
    assert decode(encode(Text(text))) == Text(text)


def test_bytes_that_are_not_utf8_are_no_text() -> None:
    with pytest.raises(UnicodeDecodeError):
        decode(b"\xff\xfe")
