"""The training harness with a stand-in trainee: budgets, best, resumption, divergence, stops."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.db import transaction
from shared.errors import Stopped, TrainingDiverged
from shared.family import TrainingParams
from shared.ids import new_id
from shared.services.events import events_of
from shared.services.ledger.accept import NewItem, add_items
from shared.services.ledger.claim import Claimed, claim
from shared.settings import settings
from shared.states import JobKind, JobState, Lane, Stop
from shared.storage import storage
from shared.tables.job import Job
from shared.tables.tenant import Tenant
from worker.family import Snapshot, Text
from worker.journal import Journal, Standing
from worker.lease import Keeper, Lease
from worker.quality import Metric
from worker.trainer import Clock, Harness


class Trainee:
    """Counts its steps; `bad` steps give losses that are not numbers."""

    epoch_steps = 50.0
    trained_tokens = None

    def __init__(self, bad: frozenset[int] = frozenset()):
        self.weight = torch.zeros(1)
        self.bad = bad
        self.scales: list[float] = []

    def advance(self, fraction: float, learning_rate_scale: float) -> dict[str, float]:
        self.weight += 1
        self.scales.append(learning_rate_scale)
        step = int(self.weight)
        return {"loss": math.nan if step in self.bad and learning_rate_scale > 0.3 else 1 / step}

    def snapshot(self) -> Snapshot:
        return Snapshot({"weight": self.weight}, {"scales": len(self.scales)})

    def restore(self, snapshot: Snapshot) -> None:
        self.weight = snapshot.tensors["weight"].clone()

    def loaded(self) -> Any:
        return self.weight.clone()

    def save(self, folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps({"weight": float(self.weight)}))


class Quality:
    """Says that a model is the better, the nearer its weight is to `peak`."""

    objective = "distance"

    def __init__(self, peak: float):
        self.peak = peak

    def measure(self, loaded: Any, *, quick: bool) -> dict[str, Metric]:
        return {"distance": Metric(abs(float(loaded) - self.peak), "lower", n=1)}

    def sheet(self, loaded: Any) -> Text:
        return Text(f"weight {float(loaded)}")


@pytest.fixture
def claimed(tenant: Tenant) -> tuple[Claimed, Lease]:
    """A training item under a lease."""
    with transaction() as session:
        job = Job(
            id=new_id("job"),
            tenant_id=tenant.id,
            kind=JobKind.TRAINING,
            state=JobState.QUEUED,
            lane=Lane.TRAINING,
        )
        session.add(job)
        add_items(session, job, [NewItem(batch_key=job.id)])
    with transaction() as session:
        found = claim(session, Lane.TRAINING, "worker", 1)
    return found.items[0], Lease(found.token, Keeper(lambda: None))


def harness(
    claimed: tuple[Claimed, Lease], trainee: Trainee, peak: float = 1e9, **params: Any
) -> Harness:
    item, lease = claimed
    made = Harness(
        trainee,
        Quality(peak),
        TrainingParams(**{"max_steps": 50, "max_seconds": 60} | params),
        lease,
        Journal(item, lease),
        Clock(0.0, time.monotonic()),
    )
    made.resume()
    return made


def told(claimed: tuple[Claimed, Lease], type_: str) -> list[str]:
    with transaction() as session:
        return [event.message for event in events_of(session, claimed[0].job_id, [type_])]


def best_weight(prefix: str | None) -> float:
    with storage().open(f"{prefix}/config.json") as stored:
        return float(json.load(stored)["weight"])


def test_the_budget_of_steps_ends_it_and_the_best_model_is_kept(
    claimed: tuple[Claimed, Lease],
) -> None:
    standing = harness(claimed, Trainee(), peak=21).run()

    assert standing.step == 50
    assert standing.best_step == 20, "evaluated at every fifth of the budget"
    assert best_weight(standing.best_prefix) == 20
    assert len(told(claimed, "sheet")) == 5
    assert len(list(storage().list(f"{claimed[0].tenant_id}/jobs/{claimed[0].job_id}/best"))) == 1


def test_the_budget_of_passes_over_the_data_ends_it(claimed: tuple[Claimed, Lease]) -> None:
    trainee = Trainee()
    trainee.epoch_steps = 7.5

    standing = harness(claimed, trainee, max_steps=None, max_epochs=2).run()

    assert standing.step == 15


def test_the_budget_of_seconds_ends_it(claimed: tuple[Claimed, Lease]) -> None:
    began = time.monotonic()
    standing = harness(claimed, Trainee(), max_steps=None, max_seconds=0.5).run()

    assert standing.step > 1
    assert time.monotonic() - began < 20


class Reader(Trainee):
    """Tells an accuracy, too, as trainees of text do."""

    def advance(self, fraction: float, learning_rate_scale: float) -> dict[str, float]:
        return super().advance(fraction, learning_rate_scale) | {"accuracy": 0.5}


def test_the_course_of_a_training_that_went_back_has_every_step_once(
    claimed: tuple[Claimed, Lease],
) -> None:
    standing = harness(claimed, Reader(bad=frozenset({25}))).run()

    assert [row[0] for row in standing.course.rows] == list(range(1, 51))


def test_the_course_of_a_resumed_training_begins_with_its_first_step(
    claimed: tuple[Claimed, Lease],
) -> None:
    first = harness(claimed, Reader())
    first.run()

    second = harness(claimed, Reader(), max_steps=60)
    standing = second.run()

    assert [row[0] for row in standing.course.rows] == list(range(1, 61))


def test_patience_ends_it_early(claimed: tuple[Claimed, Lease]) -> None:
    standing = harness(claimed, Trainee(), peak=0, patience=2).run()

    assert (standing.best_step, standing.step) == (10, 30)


def test_losses_that_are_not_numbers_go_back_with_half_the_learning_rate(
    claimed: tuple[Claimed, Lease],
) -> None:
    trainee = Trainee(bad=frozenset({15}))
    standing = harness(claimed, trainee).run()

    assert standing.step == 50
    assert standing.learning_rate_scale == 0.25, "halved twice, then it got through"
    assert float(trainee.weight) == 50
    assert len(told(claimed, "warning")) == 2
    assert "back to step 10" in told(claimed, "warning")[0]


def test_a_third_divergence_is_a_clear_failure(claimed: tuple[Claimed, Lease]) -> None:
    class Hopeless(Trainee):
        def advance(self, fraction: float, learning_rate_scale: float) -> dict[str, float]:
            return {"loss": math.inf}

    with pytest.raises(TrainingDiverged, match="learning rate"):
        harness(claimed, Hopeless()).run()


@pytest.fixture
def frequent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A checkpoint at every step."""
    monkeypatch.setenv("ATELIER_CHECKPOINT_SECONDS", "0.000001")
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.usefixtures("frequent")
def test_a_killed_training_goes_on_from_its_last_checkpoint(
    claimed: tuple[Claimed, Lease],
) -> None:
    class Killed(Trainee):
        def advance(self, fraction: float, learning_rate_scale: float) -> dict[str, float]:
            if self.weight == 23:
                raise KeyboardInterrupt
            return super().advance(fraction, learning_rate_scale)

    with pytest.raises(KeyboardInterrupt):
        harness(claimed, Killed(), peak=21).run()
    trainee = Trainee()
    resumed = harness(claimed, trainee, peak=21)
    assert float(trainee.weight) == 23
    standing = resumed.run()

    assert (standing.step, standing.best_step) == (50, 20)
    assert len(trainee.scales) == 27
    assert "goes on from the checkpoint at step 23" in told(claimed, "warning")[0]


def test_a_shutdown_saves_a_checkpoint_and_a_cancel_does_not(
    claimed: tuple[Claimed, Lease],
) -> None:
    class StopsAt(Trainee):
        def __init__(self, step: int, stop: Stop):
            super().__init__()
            self.step, self.stop = step, stop

        def advance(self, fraction: float, learning_rate_scale: float) -> dict[str, float]:
            losses = super().advance(fraction, learning_rate_scale)
            if self.weight == self.step:
                claimed[1].stop = self.stop
            return losses

    with pytest.raises(Stopped):
        harness(claimed, StopsAt(3, Stop.CANCEL)).run()
    assert told(claimed, "checkpoint") == []

    claimed[1].stop = None
    with pytest.raises(Stopped):
        harness(claimed, StopsAt(5, Stop.SHUTDOWN)).run()
    assert told(claimed, "checkpoint") == ["checkpoint at step 5"]


def test_a_kill_between_a_new_best_and_its_checkpoint_leaves_the_best_that_is_resumed_from(
    claimed: tuple[Claimed, Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = Journal.save, []

    def killed_at_the_second(journal: Journal, snapshot: Snapshot, standing: Standing) -> None:
        saved.append(standing.step)
        if len(saved) == 2:
            raise KeyboardInterrupt
        save(journal, snapshot, standing)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "save", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            harness(claimed, Trainee()).run()

    again = harness(claimed, Trainee())
    assert again.standing.step == saved[0]
    assert bests(claimed) == [f"{saved[0]}/config.json", f"{saved[1]}/config.json"]
    standing = again.run()
    assert bests(claimed) == [f"{standing.best_step}/config.json"]


def bests(claimed: tuple[Claimed, Lease]) -> list[str]:
    """Files of the best models that are stored, as step/name."""
    below = f"{claimed[0].tenant_id}/jobs/{claimed[0].job_id}/best/"
    return [stored.key.removeprefix(below) for stored in storage().list(below)]
