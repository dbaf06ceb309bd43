"""A training job from claim to registered model: data set in, harness, full measurement, card."""

import io
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from shared import catalog
from shared.db import transaction
from shared.family import Family, TrainingParams
from shared.services import datasets, files, jobs, models
from shared.services.events import add_event
from shared.services.ledger.claim import Claimed
from shared.settings import settings
from shared.states import Modality, Stage
from shared.tables.dataset import Dataset
from shared.tables.file import File
from shared.tables.job import Job
from shared.version import code_version
from worker.cache import fetch, fetch_folder, upload
from worker.course import Course
from worker.dataset import open_dataset
from worker.family import Implementation, Loaded, Run
from worker.host import host
from worker.journal import Journal, Standing
from worker.lease import Lease
from worker.quality import Metric, Quality, judge_of
from worker.registry import implementation
from worker.trainer import Clock, Harness
from worker.work import Conclude

DEMO_SIZED_S = 600
"""A model trained for less is of a demo's size; its card and every output of it say so."""

_RESULTS = "fine-tune-results"
"""The purpose of the file that holds them."""


@dataclass(frozen=True)
class _Given:
    """What a training starts from."""

    job: Job
    dataset: Dataset
    opened: Any
    family: Family
    code: Implementation
    params: TrainingParams
    base: Loaded | None
    base_name: str | None
    quality: Quality
    validation: Dataset | None


def train(item: Claimed, lease: Lease) -> Conclude:
    """Run a training job. Raises Stopped, Permanent or Retryable."""
    clock = Clock(0.0, time.monotonic())
    lease.enter(Stage.LOAD)
    given = _load(item, lease)
    lease.check()
    lease.enter(Stage.FORWARD)
    journal = Journal(item, lease)
    trainee = given.code.trainee(given.opened, given.base, given.params, host().device, lease)
    harness = Harness(trainee, given.quality, given.params, lease, journal, clock)
    harness.resume()
    standing = harness.run()
    return _register(item, given, journal, standing, lease, trainee.trained_tokens)


def _load(item: Claimed, lease: Lease) -> _Given:
    with transaction() as session:
        job = jobs.get(session, item.tenant_id, item.job_id)
        dataset = datasets.get(session, item.tenant_id, str(job.dataset_id))
        validation = (
            datasets.get(session, item.tenant_id, job.validation_dataset_id)
            if job.validation_dataset_id is not None
            else None
        )
    family = catalog.family(str(job.family))
    assert family.training is not None
    code = implementation(family)
    opened, quality = open_and_judge(dataset, code, lease, validation)
    base = host().models.get(item.model_version_id) if item.model_version_id else None
    return _Given(
        job,
        dataset,
        opened,
        family,
        code,
        family.training.model_validate(job.params),
        base.loaded if base else None,
        base.name if base else None,
        quality,
        validation,
    )


def open_and_judge(
    dataset: Dataset, code: Implementation, run: Run, validation: Dataset | None = None
) -> tuple[Any, Quality]:
    """A prepared data set, fetched and opened, and what measures models on it: on `validation`,
    where the data set's own part for that is not meant.
    """
    opened = _open(dataset)
    if validation is not None:
        opened = replace(opened, validation=_open(validation))
    extractors = settings().cache / "extractors" / str(dataset.hash)
    judge = judge_of(Modality(dataset.modality))
    return opened, judge(code, opened, extractors, host().device, run)


def _open(dataset: Dataset) -> Any:
    folder = fetch(str(dataset.prefix), dict(dataset.prepared or {}), f"datasets/{dataset.hash}")
    return open_dataset(folder)


def _register(
    item: Claimed,
    given: _Given,
    journal: Journal,
    standing: Standing,
    lease: Lease,
    trained_tokens: int | None,
) -> Conclude:
    """Measure the best model in full and store it; its row is written with the item's commit."""
    with tempfile.TemporaryDirectory(prefix="atelier-model-") as scratch:
        folder = Path(scratch)
        fetch_folder(str(standing.best_prefix), folder)
        best = given.code.load(folder, host().device)
        metrics = given.quality.measure(best, quick=False)
        journal.metrics(standing, metrics, "metrics of the registered model")
        sheet = journal.sheet(standing, given.quality.sheet(best))
        lease.check()
        # The lease's own folder: a worker that lost its lease cannot write into a registered model.
        prefix = f"{item.tenant_id}/models/{item.job_id}/{lease.token}"
        stored = upload(folder, prefix)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    card = _card(given, standing, metrics, sheet)
    new = models.NewVersion(prefix, stored, config, card)
    results = _store_course(item, standing.course)

    def conclude(session: Session) -> None:
        name = str(given.job.model)
        version = models.register(session, item.tenant_id, name, given.family, new, item.job_id)
        told = {"model": f"{name}@{version.version}", "weights_hash": version.weights_hash}
        add_event(session, item.job_id, "model", f"registered {told['model']}", told)
        if results is not None:
            session.add(results)
        jobs.set_results(session, item.job_id, trained_tokens, results.id if results else None)

    return conclude


def _store_course(item: Claimed, course: Course) -> File | None:
    """The file of a training's losses, not yet added to a session; None when it kept none."""
    if not course.rows:
        return None
    content = io.BytesIO(course.csv().encode())
    return files.store(item.tenant_id, _RESULTS, "step_metrics.csv", content)


def _card(
    given: _Given, standing: Standing, metrics: Mapping[str, Metric], sheet: str
) -> dict[str, Any]:
    validation = given.validation
    return {
        "dataset": _named(given.dataset),
        **({"validation": _named(validation)} if validation is not None else {}),
        "base": given.base_name,
        "params": given.params.model_dump(mode="json"),
        "code_version": code_version(),
        "device": host().device_name,
        "metrics": {name: metric.as_json() for name, metric in metrics.items()},
        "sheet": sheet,
        "steps": standing.step,
        "best_step": standing.best_step,
        "learning_rate_scale": standing.learning_rate_scale,
        "demo_sized": standing.elapsed_s < DEMO_SIZED_S,
        "compute_seconds": round(standing.elapsed_s, 1),
    }


def _named(dataset: Dataset) -> dict[str, Any]:
    name = f"{dataset.name}@{dataset.version}"
    return {"id": dataset.id, "name": name, "hash": dataset.hash}
