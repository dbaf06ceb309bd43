"""What a claimed item of each kind and step is: the one table that names the code for it."""

from collections.abc import Callable
from typing import Protocol

from sqlalchemy.orm import Session

from shared.services.ledger.claim import Claimed
from shared.states import JobKind, Lane, Step
from worker.lease import Lease

Conclude = Callable[[Session], Lane | None]
"""Writes what an item brought about, in the transaction that commits the item as done.

Returns a lane to hint afterwards, if the item made work for one.
"""


class Work(Protocol):
    """One long item: training, evaluation, ingestion, or a step of a job."""

    def __call__(self, item: Claimed, lease: Lease) -> Conclude:
        """Do the work and say how to write it down. Raises Stopped, Retryable or Permanent."""


def work_for(kind: str, step: str) -> Work:
    """The code for a long item. Imported at need: lane `light` runs without torch."""
    if step == Step.VALIDATE:
        from worker.batches import validate

        return validate
    if step == Step.FINALIZE:
        from worker.batches import finalize

        return finalize
    if kind == JobKind.TRAINING:
        from worker.training import train

        return train
    if kind == JobKind.EVALUATION:
        from worker.evaluation import evaluate

        return evaluate
    if kind == JobKind.INGESTION:
        from worker.ingestion import ingest

        return ingest
    raise NotImplementedError(f"no work for a {kind} item")
