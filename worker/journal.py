"""A training's journal: its events for people, and its checkpoints, from which it goes on after a
crash.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from shared.db import transaction
from shared.errors import Stopped
from shared.ids import new_id
from shared.services import jobs, models
from shared.services.events import add_event
from shared.services.ledger import leases
from shared.services.ledger.claim import Claimed
from shared.states import EventLevel
from shared.storage import remove, storage
from shared.tables.model import Checkpoint
from worker.cache import fetch_folder, upload
from worker.course import Course
from worker.family import Media, Snapshot
from worker.lease import Lease
from worker.media import encode
from worker.quality import Metric


@dataclass
class Standing:
    """How far a training is, as the harness counts; saved with every checkpoint."""

    step: int = 0
    elapsed_s: float = 0.0
    learning_rate_scale: float = 1.0
    divergences: int = 0
    best_objective: float | None = None
    best_step: int = 0
    best_prefix: str | None = None
    """Where the best model's files lie in storage."""
    stale: int = 0
    """Evaluations since the best."""
    course: Course = field(default_factory=Course)


class Journal:
    """Writes about one training job, as long as its lease is held."""

    def __init__(self, item: Claimed, lease: Lease):
        self.item = item
        self.lease = lease
        self.prefix = f"{item.tenant_id}/jobs/{item.job_id}"

    def progress(self, standing: Standing, fraction: float, losses: Mapping[str, float]) -> None:
        data = {"step": standing.step, "seconds": round(standing.elapsed_s, 1), "losses": losses}
        with transaction() as session:
            jobs.set_progress(session, self.item.job_id, fraction)
            self._event(session, "progress", f"step {standing.step}", data)

    def metrics(
        self,
        standing: Standing,
        metrics: Mapping[str, Metric],
        what: str,
        losses: Mapping[str, float] | None = None,
    ) -> None:
        """What was measured, and the losses of the step before."""
        told = {name: metric.as_json() for name, metric in metrics.items()}
        data = {"step": standing.step, "metrics": told, "losses": losses or {}}
        with transaction() as session:
            self._event(session, "metrics", what, data)

    def sheet(self, standing: Standing, sheet: Media) -> str:
        """Store a sample sheet; returns its storage key."""
        encoded = encode(sheet)
        key = f"{self.prefix}/sheets/{standing.step}/{encoded.sha256}"
        encoded.store(key)
        data = {"step": standing.step, "key": key, "media_type": encoded.media_type}
        with transaction() as session:
            self._event(session, "sheet", f"samples at step {standing.step}", data)
        return key

    def warn(self, message: str) -> None:
        with transaction() as session:
            self._event(session, "warning", message, {}, level=EventLevel.WARN)

    def save(self, snapshot: Snapshot, standing: Standing) -> None:
        """Store a checkpoint, then forget the ones before it.

        Raises Stopped if the lease is lost.
        """
        prefix = f"{self.prefix}/checkpoints/{standing.step}"
        with tempfile.TemporaryDirectory(prefix="atelier-checkpoint-") as scratch:
            folder = Path(scratch)
            tensors = {name: tensor.contiguous() for name, tensor in snapshot.tensors.items()}
            safetensors.torch.save_file(tensors, folder / "state.safetensors")
            (folder / "state.json").write_text(json.dumps(_told(snapshot, standing)))
            upload(folder, prefix)
        row = Checkpoint(
            id=new_id("checkpoint"),
            job_id=self.item.job_id,
            step=standing.step,
            prefix=prefix,
            objective=standing.best_objective,
        )
        with transaction() as session:
            self._fence(session)
            session.add(row)
            data = {"id": row.id, "step": standing.step}
            self._event(session, "checkpoint", f"checkpoint at step {standing.step}", data)
        self._forget_before(row)
        if standing.best_prefix is not None:
            self._forget_other_bests(standing.best_prefix)

    def latest(self) -> tuple[Snapshot, Standing] | None:
        """The newest checkpoint of this job, if it has one."""
        with transaction() as session:
            rows = models.checkpoints_of(session, self.item.job_id)
        if not rows:
            return None
        with tempfile.TemporaryDirectory(prefix="atelier-resume-") as scratch:
            folder = Path(scratch)
            fetch_folder(rows[0].prefix, folder)
            told = json.loads((folder / "state.json").read_text())
            tensors = safetensors.torch.load_file(folder / "state.safetensors")
        return Snapshot(tensors, told["facts"]), _standing(told)

    def keep_best(self, folder: Path, standing: Standing) -> None:
        """Store the files of the best model so far. The one before goes with the next checkpoint:
        until then, a resumed training would come back to it.
        """
        standing.best_prefix = f"{self.prefix}/best/{standing.step}"
        upload(folder, standing.best_prefix)

    def _forget_other_bests(self, kept: str) -> None:
        for stored in list(storage().list(f"{self.prefix}/best/")):
            if not stored.key.startswith(f"{kept}/"):
                storage().delete(stored.key)

    def _forget_before(self, kept: Checkpoint) -> None:
        older = select(Checkpoint).where(Checkpoint.job_id == kept.job_id, Checkpoint.id < kept.id)
        with transaction() as session:
            gone = session.scalars(older).all()
            session.execute(delete(Checkpoint).where(Checkpoint.id.in_([row.id for row in gone])))
        for row in gone:
            if row.prefix != kept.prefix:
                remove(row.prefix)

    def _fence(self, session: Session) -> None:
        if not leases.renew(session, self.lease.token, self.lease.stage):
            raise Stopped("the lease is lost")

    def _event(
        self,
        session: Session,
        type_: str,
        message: str,
        data: dict[str, Any],
        level: EventLevel = EventLevel.INFO,
    ) -> None:
        add_event(session, self.item.job_id, type_, message, data, level)


def _told(snapshot: Snapshot, standing: Standing) -> dict[str, Any]:
    counted = asdict(standing)
    # Beside the standing, where a worker of the release before does not look.
    course = counted.pop("course")
    return {"facts": snapshot.facts, "standing": counted, "course": course}


def _standing(told: dict[str, Any]) -> Standing:
    return Standing(**told["standing"], course=Course(**told.get("course", {})))
