"""Where an example goes, and the name of a whole set: both follow from content alone."""

import hashlib
from collections.abc import Iterable

from shared.preparation import Options
from worker.dataset import Split

FORMAT = 1
"""Version of the prepared format; part of every data set's hash."""


def split_of(digest: bytes, options: Options) -> Split:
    """The split of the example with this SHA-256.

    Nothing else decides, so adding examples never moves one, a copy never lands beside its original
    in another split, and another share for validation never moves an example into or out of test.
    """
    position = int.from_bytes(hashlib.sha256(b"split:" + digest).digest()[:8], "big") / 2**64
    if position < options.test:
        return "test"
    if position < options.test + options.validation:
        return "validation"
    return "train"


def dataset_hash(examples: Iterable[bytes], options: Options) -> str:
    """SHA-256 over format, options and the examples (digest and label of each), in hex.

    The order of the examples does not count.
    """
    total = hashlib.sha256(f"{FORMAT}\n{options.model_dump_json()}\n".encode())
    for example in sorted(examples):
        total.update(len(example).to_bytes(4, "big") + example)
    return total.hexdigest()
