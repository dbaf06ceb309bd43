"""From media to files: which encoder each kind of content has."""

import hashlib
import io
from dataclasses import dataclass

from shared.services.outputs import MediaType
from shared.storage import storage
from worker.family import Image, Media, Text, Vectors


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
    # Imported at need: a worker of text has no use for what pictures need.
    match media:
        case Image():
            from worker.image.media import encode as encode_image

            return Encoded(encode_image(media), "image/png")
        case Text():
            from worker.text.media import encode as encode_text

            return Encoded(encode_text(media), "text/plain; charset=utf-8")
        case Vectors():
            return Encoded(media.values_nd.astype("<f4").tobytes(), MediaType.VECTORS)
