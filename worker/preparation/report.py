"""The preparation report: what was kept, what was not and why."""

import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

import numpy as np

from shared.errors import Invalid
from shared.preparation import Options
from shared.states import Modality
from worker.dataset import SPLITS, Split
from worker.preparation.labels import in_natural_order

MOST_REJECTED_SHOWN = 200
MOST_REASON_CHARACTERS = 300
FEW_EXAMPLES = 30
LEAST_SHARE = 1e-9
"""What is left of 1 after other shares may be a rounding error."""


class Rejected(TypedDict):
    """One example that cannot be used: where it lies (archive/member, file:line) and why."""

    where: str
    reason: str


class Duplicates(TypedDict):
    """Examples dropped because an earlier one is equal, or nearly."""

    exact: int
    near: int


@dataclass(frozen=True)
class Report:
    """What the API shows of a preparation."""

    modality: Modality
    hash: str
    examples: int
    labels: dict[str, int]
    """Examples per label, in natural order; the unlabelled are not in it."""
    unlabelled: int
    splits: dict[str, int]
    languages: dict[str, int]
    """Documents per language, the most frequent first; empty for images."""
    rejected: list[Rejected]
    """The first 200."""
    rejected_total: int
    duplicates: Duplicates
    sizes: dict[str, Any]
    """Images: `source_bytes`, `bytes`, `size`, `channels`, `width` and `height` as found [least,
    most]. Text: `source_bytes`, `bytes`, `characters`, `length` of documents in characters (min,
    p05, p50, p95, max)."""
    sheet: str
    """Name of the sample sheet in the prepared folder."""
    warnings: list[str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Tally:
    """Counts while a preparation runs, and writes its report at the end."""

    def __init__(self, options: Options) -> None:
        train = 1 - options.validation - options.test
        shares = {"train": train, "validation": options.validation, "test": options.test}
        # A share may be 0 on purpose: a set that only measures has nothing to train on.
        self.wanted = [split for split in SPLITS if shares[split] > LEAST_SHARE]
        self.labels: Counter[str | None] = Counter()
        self.splits: Counter[Split] = Counter()
        self.languages: Counter[str] = Counter()
        self.rejected: list[Rejected] = []
        self.rejected_total = 0
        self.exact = 0
        self.near = 0
        self.relabelled = 0
        """Exact duplicates with another label than the one that was kept."""
        self.warnings: list[str] = []

    def reject(self, where: str, reason: str) -> None:
        self.rejected_total += 1
        if len(self.rejected) < MOST_REJECTED_SHOWN:
            self.rejected.append({"where": _printable(where), "reason": _printable(reason)})

    def count(self, label: str | None, split: Split) -> None:
        self.labels[label] += 1
        self.splits[split] += 1

    @property
    def examples(self) -> int:
        return self.splits.total()

    @property
    def label_names(self) -> list[str]:
        return in_natural_order(label for label in self.labels if label is not None)

    @property
    def counts(self) -> dict[str, int]:
        return {split: self.splits[split] for split in SPLITS}

    def check(self) -> None:
        """Raises Invalid where nothing is left, or nothing to train on although that was meant."""
        if not self.examples:
            shown = "; ".join(f"{row['where']}: {row['reason']}" for row in self.rejected[:5])
            raise Invalid(f"files: nothing usable was found. {shown}".strip(), param="files")
        if "train" in self.wanted and not self.splits["train"]:
            raise Invalid(
                f"files: none of only {self.examples} examples falls into the training split; add "
                "examples, or set the shares validation and test to 0",
                param="files",
            )

    def report(self, modality: Modality, name: str, sizes: dict[str, Any], sheet: str) -> Report:
        """What was counted, with the hash, sizes and sheet of the finished set."""
        return Report(
            modality=modality,
            hash=name,
            examples=self.examples,
            labels={label: self.labels[label] for label in self.label_names},
            unlabelled=self.labels[None],
            splits=self.counts,
            languages=dict(self.languages.most_common()),
            rejected=self.rejected,
            rejected_total=self.rejected_total,
            duplicates={"exact": self.exact, "near": self.near},
            sizes=sizes,
            sheet=sheet,
            warnings=[*self.warnings, *self._own_warnings()],
        )

    def _own_warnings(self) -> list[str]:
        found = []
        empty = [split for split in self.wanted if not self.splits[split]]
        if empty:
            found.append(
                f"no example fell into {' and '.join(empty)}: an example's content alone decides "
                f"where it goes, and with fewer than about {FEW_EXAMPLES} a split may stay empty"
            )
        if self.relabelled:
            found.append(
                f"{self.relabelled} exact duplicates have another label than the copy that was kept"
            )
        if self.labels[None] and len(self.labels) > 1:
            found.append(f"{self.labels[None]} of {self.examples} examples have no label")
        return found


def length_quantiles(lengths: Sequence[int] | array) -> dict[str, int]:
    """Least, 5 %, median, 95 % and most of the documents' lengths in characters."""
    values = np.quantile(np.asarray(lengths), (0, 0.05, 0.5, 0.95, 1), method="nearest")
    return dict(zip(("min", "p05", "p50", "p95", "max"), map(int, values), strict=True))


def _printable(text: str) -> str:
    # Names and messages come out of hostile files, and the report goes into JSON and a database.
    return re.sub("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "�", text)[:MOST_REASON_CHARACTERS]
