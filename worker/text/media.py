"""Text as files: UTF-8 bytes without a byte order mark."""

from worker.family import Text


def encode(text: Text) -> bytes:
    """The text's UTF-8 bytes."""
    return text.text.encode("utf-8")


def decode(data: bytes) -> Text:
    """The text of UTF-8 bytes. Raises UnicodeDecodeError where they are not."""
    return Text(data.decode("utf-8"))
