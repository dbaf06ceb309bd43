"""Checkpoints as clients see them: what a training's events tell of them."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.services.events import events_of, list_events
from shared.services.pages import Cursor, Page
from shared.services.tuning_names import names_of
from shared.tables.job import Event, Job
from shared.tables.model import ModelVersion


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was saved."""

    event: Event
    metrics: dict[str, float]
    """What was measured at its step, and the step's losses, if anything was."""
    model: str | None
    """The job's model, if it has these weights: only the best checkpoint's are kept."""

    @property
    def step(self) -> int:
        return int(self.event.data["step"])


def list_checkpoints(session: Session, job: Job, cursor: Cursor) -> Page[Saved]:
    """A page of a training's checkpoints; the cursor counts in events."""
    found = list_events(session, job, cursor, ["checkpoint"])
    metrics: dict[Any, dict[str, float]] = {}
    for event in events_of(session, job.id, ["metrics"]):
        values = {name: told["value"] for name, told in event.data["metrics"].items()}
        values |= event.data.get("losses", {})
        # At the last step a second event tells of the registered model.
        metrics.setdefault(event.data["step"], values)
    made = session.scalar(select(ModelVersion).where(ModelVersion.job_id == job.id))
    best = made.card["best_step"] if made is not None else None
    name = names_of(session, [job])[job.id].fine_tuned_model
    rows = [
        Saved(event, metrics.get(step, {}), name if step == best else None)
        for event in found.rows
        # Trainings of older releases did not say it.
        if (step := event.data.get("step")) is not None
    ]
    return Page(rows, found.has_more)
