"""Ingestion: uploaded files, or judged outputs, become a prepared data set in storage."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from shared.db import transaction
from shared.preparation import options_for
from shared.services import datasets, files, jobs
from shared.services.ledger.claim import Claimed
from shared.services.ledger.trainings import start_waiting
from shared.states import Lane, Modality, Stage
from shared.storage import CHUNK_BYTES, storage
from shared.tables.dataset import Dataset
from shared.tables.file import File
from worker.cache import upload
from worker.judged import gather
from worker.lease import Lease
from worker.preparation.files import Source
from worker.preparation.prepare import prepare
from worker.preparation.report import Report
from worker.work import Conclude


class _Progress:
    """What preparation sees of its host."""

    def __init__(self, item: Claimed, lease: Lease):
        self.item = item
        self.lease = lease
        self.told = 0.0

    def should_stop(self) -> bool:
        return self.lease.should_stop()

    def progress(self, fraction: float) -> None:
        self.lease.touch()
        if fraction - self.told >= 0.05:
            self.told = fraction
            with transaction() as session:
                jobs.set_progress(session, self.item.job_id, fraction)


def ingest(item: Claimed, lease: Lease) -> Conclude:
    """Prepare the data set of an ingestion job. Raises Stopped, Permanent or Retryable."""
    lease.enter(Stage.LOAD)
    with transaction() as session:
        job = jobs.get(session, item.tenant_id, item.job_id)
        dataset = datasets.get(session, item.tenant_id, str(job.dataset_id))
        rows = [files.held(session, item.tenant_id, id_, param="files") for id_ in dataset.files]
    scratch = Path(tempfile.mkdtemp(prefix="atelier-ingest-"))
    try:
        sources = [_fetch(row, scratch, position, lease) for position, row in enumerate(rows)]
        gathered = gather(dataset, scratch, lease.check) if dataset.outputs else None
        sources += [gathered.source] if gathered else []
        lease.enter(Stage.FORWARD)
        folder = scratch / "prepared"
        prepared = _prepare(dataset, sources, folder, _Progress(item, lease))
        report = prepared.as_json()
        if gathered:
            gathered.add_to(folder, report)
        lease.check()
        lease.enter(Stage.STORE)
        return _store(item, dataset, prepared.hash, report, folder)
    finally:
        shutil.rmtree(scratch)


def _fetch(row: File, scratch: Path, position: int, lease: Lease) -> Source:
    path = scratch / f"source-{position}"
    with storage().open(row.key) as source, path.open("wb") as target:
        while chunk := source.read(CHUNK_BYTES):
            target.write(chunk)
            lease.check()
    return Source(path, row.filename)


def _prepare(dataset: Dataset, sources: list[Source], folder: Path, run: _Progress) -> Report:
    modality = Modality(dataset.modality)
    options = options_for(modality).model_validate(dataset.options)
    return prepare(modality, sources, options, folder, run)


def _store(
    item: Claimed, dataset: Dataset, hash_: str, report: dict[str, Any], folder: Path
) -> Conclude:
    prefix = f"{item.tenant_id}/datasets/{dataset.id}"
    hashes = upload(folder, prefix)
    prepared = datasets.Prepared(prefix, hashes, hash_, report)

    def conclude(session: Session) -> Lane | None:
        datasets.ready(session, dataset.id, prepared)
        return start_waiting(session, dataset)

    return conclude
