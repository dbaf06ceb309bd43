"""Near duplicates: images that look the same, documents that share nearly all passages."""

import hashlib

import numpy as np
from datasketch import MinHash, MinHashLSH
from imagehash import phash
from PIL import Image

MOST_REMEMBERED = 200_000
"""Examples that later ones are compared with: bounds memory at about 150 MB (images 250 bytes and
four dictionary entries each, documents 512 bytes and five)."""

SMALLEST_IMAGE = 64
"""Shorter side in pixels. Below it two different digits or icons may well have one perceptual hash,
so that small images are duplicates only when every pixel is equal."""
MOST_BITS_APART = 3
MOST_MEAN_DIFFERENCE = 6.0
"""Of 255, between 8 x 8 thumbnails in colour: the same shape in another colour is another image."""
_THUMBNAIL = (8, 8)
_BANDS = 4
_MOST_CANDIDATES = 500

SHORTEST_TEXT = 100
"""Characters. In a shorter text a single word makes a difference that counts."""
LEAST_SIMILARITY = 0.9
"""Jaccard similarity of the sets of five-character passages, estimated by MinHash."""
_PASSAGE_CHARACTERS = 5
_PERMUTATIONS = 128
_PASSAGES_AT_ONCE = 2**12


class NearImages:
    """Remembers images by perceptual hash (64 bits of a cosine transform) and thumbnail.

    Two hashes at most three bits apart agree in one of four bands of 16 bits: a look-up finds all.
    """

    def __init__(self) -> None:
        self._bands: list[dict[int, list[int]]] = [{} for _ in range(_BANDS)]
        self._hashes: list[int] = []
        self._thumbnails = bytearray()

    def seen(self, pixels_hwc: np.ndarray) -> bool:
        """Whether an image like this came before; if not, it is remembered."""
        if min(pixels_hwc.shape[:2]) < SMALLEST_IMAGE:
            return False
        image = Image.fromarray(pixels_hwc.squeeze())
        # Reduced first: the hash is of 32 x 32 pixels, and a photograph has millions.
        image.thumbnail((256, 256), Image.Resampling.BOX)
        bits = int(str(phash(image)), 16)
        thumbnail = np.asarray(image.convert("RGB").resize(_THUMBNAIL, Image.Resampling.BOX))
        keys = [bits >> 16 * band & 0xFFFF for band in range(_BANDS)]
        if any(self._alike(k, bits, thumbnail) for k in self._candidates(keys)):
            return True
        if len(self._hashes) < MOST_REMEMBERED:
            for band, key in zip(self._bands, keys, strict=True):
                band.setdefault(key, []).append(len(self._hashes))
            self._hashes.append(bits)
            self._thumbnails += thumbnail.tobytes()
        return False

    def _candidates(self, keys: list[int]) -> set[int]:
        found = (band.get(key, ()) for band, key in zip(self._bands, keys, strict=True))
        # Plain surfaces share a hash; without a bound a set of them would take quadratic time.
        return {k for candidates in found for k in candidates[-_MOST_CANDIDATES:]}

    def _alike(self, k: int, bits: int, thumbnail: np.ndarray) -> bool:
        if (self._hashes[k] ^ bits).bit_count() > MOST_BITS_APART:
            return False
        other = np.frombuffer(self._thumbnails, np.uint8, thumbnail.size, k * thumbnail.size)
        difference = np.abs(thumbnail.astype(np.int16).ravel() - other)
        return float(difference.mean()) <= MOST_MEAN_DIFFERENCE


class NearTexts:
    """Remembers documents by their MinHash signatures, found again by locality-sensitive hashing.

    Source: A. Broder, On the resemblance and containment of documents, 1997.
    """

    def __init__(self) -> None:
        self._sketch = MinHash(_PERMUTATIONS, hashfunc=int)
        self._index = MinHashLSH(LEAST_SIMILARITY, _PERMUTATIONS, hashfunc=_short)
        self._signatures: list[bytes] = []

    def seen(self, text: str) -> bool:
        """Whether a document like this came before; if not, it is remembered."""
        if len(text) < SHORTEST_TEXT:
            return False
        self._sketch.clear()
        passages = _passage_hashes(text)
        for start in range(0, len(passages), _PASSAGES_AT_ONCE):
            self._sketch.update_batch(passages[start : start + _PASSAGES_AT_ONCE].tolist())
        signature = self._sketch.hashvalues
        for k in self._index.query(self._sketch):
            other = np.frombuffer(self._signatures[k], signature.dtype)
            if np.mean(signature == other) >= LEAST_SIMILARITY:
                return True
        if len(self._signatures) < MOST_REMEMBERED:
            self._index.insert(len(self._signatures), self._sketch, check_duplication=False)
            self._signatures.append(signature.tobytes())
        return False


def _short(band: bytes) -> bytes:
    return hashlib.blake2b(band, digest_size=8).digest()


def _passage_hashes(text: str) -> np.ndarray:
    """A 32-bit hash of every passage of five characters, each once."""
    characters = np.frombuffer(text.encode("utf-32-le"), np.uint32) * np.uint32(0x9E3779B1)
    count = len(characters) - _PASSAGE_CHARACTERS + 1
    hashes = np.zeros(count, np.uint32)
    for offset in range(_PASSAGE_CHARACTERS):
        hashes = hashes * np.uint32(0x01000193) + characters[offset : offset + count]
    return np.unique(hashes)
