"""The training harness: budgets, evaluations, checkpoints, divergence, early stop - the same for
all families.
"""

import copy
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.errors import Stopped, TrainingDiverged
from shared.family import TrainingParams
from shared.settings import settings
from shared.states import Stop
from worker.family import Snapshot, Trainee
from worker.journal import Journal, Standing
from worker.lease import Lease
from worker.quality import Quality

EVALUATIONS = 5
"""Evaluations over a whole budget: enough to find the best model, few enough to cost little."""
_TOLD = 200
"""Progress events over a whole budget, and at most one in two seconds."""
_MAX_DIVERGENCES = 2


@dataclass
class Clock:
    """Seconds of training: those before a resumption, and those since."""

    before_s: float
    began: float

    def elapsed_s(self) -> float:
        return self.before_s + time.monotonic() - self.began


class Harness:
    """Drives one trainee to the end of its budget."""

    def __init__(
        self,
        trainee: Trainee,
        quality: Quality,
        params: TrainingParams,
        lease: Lease,
        journal: Journal,
        clock: Clock,
    ):
        self.trainee = trainee
        self.quality = quality
        self.params = params
        self.lease = lease
        self.journal = journal
        self.clock = clock
        self.standing = Standing()
        self.told_at = clock.elapsed_s()
        self.saved_at = clock.elapsed_s()
        self.evaluated_at = 0.0
        self.losses: Mapping[str, float] = {}
        """Of the last step."""
        self.safe: tuple[Snapshot, Standing] | None = None
        """The last good state, to go back to after a divergence."""

    def resume(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        found = self.journal.latest()
        if found is None:
            self._remember()
            return
        snapshot, self.standing = found
        self.trainee.restore(snapshot)
        self.clock.before_s += self.standing.elapsed_s
        self.evaluated_at = self._fraction()
        self.told_at = self.saved_at = self.clock.elapsed_s()
        self.safe = (snapshot, copy.deepcopy(self.standing))
        self.journal.warn(f"training goes on from the checkpoint at step {self.standing.step}")

    def run(self) -> Standing:
        """Train until the budget is spent or nothing gets better; the best model is kept by the
        journal.

        Raises Stopped when asked to stop (with a checkpoint saved, unless cancelled),
        TrainingDiverged.
        """
        while (fraction := self._fraction()) < 1:
            if self.lease.should_stop():
                self._stop()
            losses = self.trainee.advance(fraction, self.standing.learning_rate_scale)
            self.standing.step += 1
            if not all(map(math.isfinite, losses.values())):
                self._diverged()
                continue
            self.losses = losses
            self.standing.course.add(self.standing.step, losses)
            self._tell(losses)
            if self._milestone() and self._evaluate():
                break
            if self.clock.elapsed_s() - self.saved_at >= settings().checkpoint_seconds:
                self._save()
        else:
            self._evaluate()
        self._count_time()
        return self.standing

    def _fraction(self) -> float:
        """The part of the budget that is spent, 0 to 1 and beyond."""
        by_time = self.clock.elapsed_s() / self.params.max_seconds
        by_steps = self.standing.step / self.params.max_steps if self.params.max_steps else 0.0
        return max(by_time, by_steps, self._fraction_of_epochs())

    def _fraction_of_epochs(self) -> float:
        if self.params.max_epochs is None:
            return 0.0
        return self.standing.step / (self.params.max_epochs * self.trainee.epoch_steps)

    def _milestone(self) -> bool:
        """Whether a further fifth of the budget is spent; the last is measured at the end."""
        reached = int(self._fraction() * EVALUATIONS)
        return int(self.evaluated_at * EVALUATIONS) < reached < EVALUATIONS

    def _count_time(self) -> None:
        self.standing.elapsed_s = self.clock.elapsed_s()

    def _tell(self, losses: Mapping[str, float]) -> None:
        if self.clock.elapsed_s() - self.told_at >= max(2.0, self.params.max_seconds / _TOLD):
            self.told_at = self.clock.elapsed_s()
            self._count_time()
            self.journal.progress(self.standing, self._fraction(), losses)

    def _evaluate(self) -> bool:
        """Measure, keep the best; True when it has not got better for as long as the patience
        lasts.
        """
        self.evaluated_at = self._fraction()
        standing = self.standing
        loaded = self.trainee.loaded()
        metrics = self.quality.measure(loaded, quick=True)
        measured = {name: metric.value for name, metric in metrics.items()}
        standing.course.measure(standing.step, self.losses, measured)
        self.journal.metrics(standing, metrics, f"evaluation at step {standing.step}", self.losses)
        self.journal.sheet(standing, self.quality.sheet(loaded))
        objective = metrics[self.quality.objective]
        sign = 1 if objective.better == "lower" else -1
        best = standing.best_objective
        if best is None or sign * objective.value < sign * best:
            standing.best_objective, standing.best_step, standing.stale = (
                objective.value,
                standing.step,
                0,
            )
            with tempfile.TemporaryDirectory(prefix="atelier-best-") as scratch:
                self.trainee.save(Path(scratch))
                self.journal.keep_best(Path(scratch), standing)
        else:
            standing.stale += 1
        self._save()
        return 0 < self.params.patience <= standing.stale

    def _save(self) -> None:
        self._count_time()
        self._remember()
        assert self.safe is not None
        self.journal.save(*self.safe)
        self.saved_at = self.clock.elapsed_s()

    def _remember(self) -> None:
        snapshot = self.trainee.snapshot()
        # Clones: the trainee goes on changing its own tensors.
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in snapshot.tensors.items()}
        self.safe = (Snapshot(tensors, snapshot.facts), copy.deepcopy(self.standing))

    def _diverged(self) -> None:
        """Back to the last good state with half the learning rate; the third time it is the end."""
        divergences = self.standing.divergences + 1
        if divergences > _MAX_DIVERGENCES:
            raise TrainingDiverged
        assert self.safe is not None
        snapshot, standing = self.safe
        self.trainee.restore(snapshot)
        scale = self.standing.learning_rate_scale / 2
        self.standing = copy.deepcopy(standing)
        self.standing.divergences = divergences
        self.standing.learning_rate_scale = scale
        self.journal.warn(
            f"losses were not numbers; back to step {standing.step}, learning rate times {scale:g}"
        )

    def _stop(self) -> None:
        if self.lease.stop is not Stop.CANCEL:
            self._save()
        raise Stopped(str(self.lease.stop))
