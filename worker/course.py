"""The course of a training: its loss step by step, thinned so that it stays small, as the file of
results that OpenAI's clients fetch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_ROWS = 2000
"""Steps that are kept; once there are more, every other one goes."""
_COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
Row = list[float | None]
"""A value for each column; None where nothing was measured."""


@dataclass
class Course:
    """What is kept of a training whose trainee tells one `loss` and its `accuracy`."""

    rows: list[Row] = field(default_factory=list)
    every: int = 1
    """Steps between two rows, save those at which something was measured."""

    def add(self, step: int, losses: Mapping[str, float]) -> None:
        """Keep a step, if it is one to be kept."""
        if "accuracy" in losses and step % self.every == 0:
            self.rows.append([step, losses["loss"], losses["accuracy"], None, None])
            if len(self.rows) > MOST_ROWS:
                self.every *= 2
                self.rows = [row for row in self.rows if _is_kept(row, self.every)]

    def measure(
        self, step: int, losses: Mapping[str, float], measured: Mapping[str, float]
    ) -> None:
        """Keep what was measured after a step, whichever it is."""
        if "accuracy" not in losses or "valid_loss" not in measured:
            return
        if self.rows and self.rows[-1][0] == step:
            self.rows.pop()
        told = (measured["valid_loss"], measured["valid_mean_token_accuracy"])
        self.rows.append([step, losses["loss"], losses["accuracy"], *told])

    def csv(self) -> str:
        """A line for each row, below the names of the columns."""
        lines = [_COLUMNS, *(tuple(map(_written, row)) for row in self.rows)]
        return "".join(",".join(line) + "\n" for line in lines)


def _is_kept(row: Row, every: int) -> bool:
    return row[0] is not None and (row[0] % every == 0 or row[3] is not None)


def _written(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
