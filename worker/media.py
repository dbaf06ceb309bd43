"""From media to files: which encoder each kind of content has."""

import hashlib
import io
from dataclasses import dataclass

from shared.storage import storage
from worker.family import Image, Media, Text
from worker.image import media as image
from worker.text import media as text


@dataclass(frozen=True)
class Encoded:
    """A file's bytes and what they are."""

    content: bytes
    media_type: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def store(self, key: str) -> None:
        """Put it into storage. Raises StorageUnavailable."""
        storage().put(key, io.BytesIO(self.content), media_type=self.media_type)


def encode(media: Media) -> Encoded:
    """The file that an output is stored and delivered as."""
    match media:
        case Image():
            return Encoded(image.encode(media), "image/png")
        case Text():
            return Encoded(text.encode(media), "text/plain; charset=utf-8")
