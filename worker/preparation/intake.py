"""The gate of a data set: of each example, whether it is new, and where it goes."""

from collections.abc import Callable

from shared.errors import Invalid
from shared.preparation import Options
from worker.dataset import Split
from worker.preparation.limits import MAX_EXAMPLES
from worker.preparation.report import Tally
from worker.preparation.split import dataset_hash, split_of


class Intake:
    """Lets examples in, drops duplicates, and remembers what the set's hash is made of.

    The first of equal or nearly equal examples stays; `deduplicate: false` keeps them all.
    """

    def __init__(self, options: Options, tally: Tally):
        self.options = options
        self.tally = tally
        self._labels: dict[bytes, str | None] = {}
        self._examples: list[bytes] = []

    def admit(self, digest: bytes, label: str | None, near: Callable[[], bool]) -> Split | None:
        """The split for a new example, None for a duplicate; `near` looks for one like it.

        Raises Invalid above the limit of examples.
        """
        if self.options.deduplicate and self._is_duplicate(digest, label, near):
            return None
        if len(self._examples) == MAX_EXAMPLES:
            raise Invalid(f"files: more than {MAX_EXAMPLES:,} examples", param="files")
        self._examples.append(digest + (label or "").encode())
        split = split_of(digest, self.options)
        self.tally.count(label, split)
        return split

    def hash(self) -> str:
        """The data set's own, once every example is in."""
        return dataset_hash(self._examples, self.options)

    def _is_duplicate(self, digest: bytes, label: str | None, near: Callable[[], bool]) -> bool:
        if digest in self._labels:
            self.tally.exact += 1
            self.tally.relabelled += self._labels[digest] != label
            return True
        self._labels[digest] = label
        if near():
            self.tally.near += 1
            return True
        return False
