"""Data sets: asking for one, of files or of judged outputs, and what its ingestion job reports."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from shared.errors import Conflict, Invalid, NotFound
from shared.ids import new_id
from shared.preparation import JudgedOutputs, options_for
from shared.services import files, jobs, models, reviews
from shared.services.admission import admit
from shared.services.invalid import invalid
from shared.services.ledger.accept import NewItem, add_items
from shared.services.names import check_name, split_reference
from shared.services.pages import ALWAYS, Cursor, Page, Period, having, made_within, page
from shared.services.quotas import check_room
from shared.states import DatasetState, JobKind, JobState, Lane, Modality
from shared.storage import BINARY
from shared.tables.dataset import Dataset
from shared.tables.job import Job

PREPARED = (Modality.IMAGE, Modality.TEXT)
"""Modalities that ingestion can prepare."""

_HOLD_NAME = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")


def create(
    session: Session,
    tenant_id: str,
    name: str,
    modality: str,
    file_ids: Sequence[str],
    options: dict[str, Any],
    key_id: str | None = None,
) -> Dataset:
    """A new version of a data set, and the job that prepares it for the key that asks. Hint lane
    `light` after the commit.

    Raises Invalid or NotFound naming the field.
    """
    _check(name, modality)
    if not file_ids:
        raise Invalid("files: name at least one uploaded file", param="files")
    for position, file_id in enumerate(file_ids):
        files.hold(session, tenant_id, file_id, param=f"files[{position}]")
    new = Dataset(tenant_id=tenant_id, name=name, modality=modality, files=list(file_ids))
    return _accept(session, new, options, key_id)


def create_from_outputs(
    session: Session,
    tenant_id: str,
    name: str,
    modality: str,
    chosen: JudgedOutputs,
    options: dict[str, Any],
    key_id: str | None = None,
) -> Dataset:
    """A new version of a data set of judged outputs, and its job, as `create` makes them.

    Raises Invalid or NotFound naming the field.
    """
    _check(name, modality)
    if chosen.model is not None:
        models.check_named(session, tenant_id, chosen.model, param="outputs.model")
    if chosen.job is not None:
        jobs.get(session, tenant_id, chosen.job, param="outputs.job")
    if not reviews.judged(session, tenant_id, Modality(modality), chosen):
        raise Invalid(
            f"outputs: none of these {modality} outputs is {chosen.verdict}; give verdicts first",
            param="outputs",
        )
    asked = chosen.model_dump(mode="json")
    new = Dataset(tenant_id=tenant_id, name=name, modality=modality, files=[], outputs=asked)
    return _accept(session, new, options, key_id)


def _check(name: str, modality: str) -> None:
    check_name(name, "name")
    if modality not in PREPARED:
        raise Invalid(f"modality: use one of {', '.join(PREPARED)}", param="modality")


def _accept(
    session: Session, dataset: Dataset, options: dict[str, Any], key_id: str | None
) -> Dataset:
    tenant_id = dataset.tenant_id
    try:
        chosen = options_for(Modality(dataset.modality)).model_validate(options)
    except ValidationError as error:
        raise invalid(error, "options") from None
    room = check_room(session, tenant_id, 1, key_id)
    dataset.id = new_id("dataset")
    dataset.version = _next_version(session, tenant_id, dataset.name)
    dataset.state = DatasetState.PREPARING
    dataset.options = chosen.model_dump(mode="json")
    job = Job(
        id=new_id("job"),
        tenant_id=tenant_id,
        key_id=key_id,
        kind=JobKind.INGESTION,
        state=JobState.QUEUED,
        lane=Lane.LIGHT,
        dataset_id=dataset.id,
    )
    dataset.job_id = job.id
    session.add_all([dataset, job])
    add_items(session, job, [NewItem(batch_key=job.id)])
    admit(session, job, room)
    return dataset


def of_file(
    session: Session,
    tenant_id: str,
    file_id: str,
    modality: Modality,
    options: dict[str, Any],
    key_id: str | None = None,
) -> Dataset:
    """The data set of one file, under the file's name: one that is ready, or else a new one.

    Hint lane `light` after the commit.
    """
    chosen = options_for(modality).model_validate(options).model_dump(mode="json")
    same = select(Dataset).where(
        Dataset.tenant_id == tenant_id,
        Dataset.name == file_id,
        Dataset.modality == modality,
        Dataset.state == DatasetState.READY,
        Dataset.files == [file_id],
        Dataset.options == chosen,
    )
    found = session.scalars(same.order_by(Dataset.version.desc()).limit(1)).first()
    return found or create(session, tenant_id, file_id, modality, [file_id], options, key_id)


def hold_names(session: Session, tenant_id: str, names: Iterable[str]) -> None:
    """Let nobody else make versions of data sets of these names before the transaction is over.

    Whoever makes several holds all their names first: making one may lock its tenant.
    """
    for name in sorted(set(names)):
        session.execute(_HOLD_NAME, {"name": f"dataset/{tenant_id}/{name}"})


def _next_version(session: Session, tenant_id: str, name: str) -> int:
    # Two creates of one name at once: the second waits here for the first to commit.
    hold_names(session, tenant_id, [name])
    mine = (Dataset.tenant_id == tenant_id) & (Dataset.name == name)
    return (session.scalar(select(func.max(Dataset.version)).where(mine)) or 0) + 1


@dataclass(frozen=True)
class Prepared:
    """A data set whose files are stored and which waits to become ready."""

    prefix: str
    files: dict[str, str]
    """SHA-256 by file name."""
    hash: str
    report: dict[str, Any]


def ready(session: Session, dataset_id: str, prepared: Prepared) -> None:
    """Preparation has succeeded: the data set is immutable from now on."""
    guarded = update(Dataset).where(
        Dataset.id == dataset_id, Dataset.state == DatasetState.PREPARING
    )
    values = {"prefix": prepared.prefix, "hash": prepared.hash, "report": prepared.report}
    values |= {"prepared": prepared.files, "state": DatasetState.READY}
    if session.execute(guarded.values(**values)).rowcount != 1:  # type: ignore[attr-defined]
        raise Conflict(f"Data set {dataset_id} is not being prepared.")


def prepare_again(session: Session, dataset_id: str) -> None:
    """Its ingestion job is retried: a data set that failed waits once more."""
    failed = update(Dataset).where(Dataset.id == dataset_id, Dataset.state == DatasetState.FAILED)
    session.execute(failed.values(state=DatasetState.PREPARING, report=None))


def get(session: Session, tenant_id: str, id_: str) -> Dataset:
    """A tenant's data set by id. Raises NotFound."""
    found = session.scalar(select(Dataset).where(Dataset.id == id_, Dataset.tenant_id == tenant_id))
    if found is None:
        raise NotFound(f"No data set {id_!r}.")
    return found


def resolve(session: Session, tenant_id: str, reference: str) -> Dataset:
    """The ready data set behind an id, a `name` (its last ready version) or `name@version`.

    Raises NotFound, or Conflict while it is being prepared or when it has failed.
    """
    chosen = select(Dataset).where(Dataset.tenant_id == tenant_id)
    if reference.startswith("dataset_"):
        chosen = chosen.where(Dataset.id == reference)
    else:
        name, version = split_reference(reference, "dataset")
        chosen = chosen.where(Dataset.name == name)
        if version is not None:
            chosen = chosen.where(Dataset.version == version)
    found = session.scalars(chosen.order_by(Dataset.version.desc())).all()
    if not found:
        raise NotFound(f"dataset: no data set {reference!r}", param="dataset")
    for dataset in found:
        if dataset.state == DatasetState.READY:
            return dataset
    raise Conflict(f"dataset: {reference!r} is {found[0].state}, not ready", param="dataset")


@dataclass(frozen=True)
class Filter:
    """Which data sets of a list are wanted."""

    name: str | None = None
    state: DatasetState | None = None
    modality: Modality | None = None
    period: Period = ALWAYS


def list_datasets(
    session: Session, tenant_id: str, cursor: Cursor, only: Filter | None = None
) -> Page[Dataset]:
    """A page of a tenant's data sets."""
    only = only or Filter()
    wanted = {
        Dataset.name: only.name,
        Dataset.state: only.state,
        Dataset.modality: only.modality,
    }
    chosen = having(select(Dataset).where(Dataset.tenant_id == tenant_id), wanted)
    chosen = made_within(chosen, Dataset, "dataset", only.period)
    return page(session, chosen, Dataset.id, cursor)


@dataclass(frozen=True)
class Attachment:
    """A file about a data set in storage."""

    key: str
    filename: str
    media_type: str


SHEETS = {"sheet.png": "image/png", "sheet.txt": "text/plain; charset=utf-8"}
OUTPUTS = "outputs.jsonl"
"""Among the prepared files of a set that was made from outputs: which they were."""


def sheet_of(dataset: Dataset) -> Attachment | None:
    """A data set's sample sheet, if it is ready."""
    for name, media_type in SHEETS.items():
        if name in (dataset.prepared or {}):
            return Attachment(f"{dataset.prefix}/{name}", f"{dataset.name}-{name}", media_type)
    return None


def outputs_of(dataset: Dataset) -> Attachment | None:
    """The list of the outputs that a data set was made from, if it was and is ready."""
    if dataset.outputs is None or OUTPUTS not in (dataset.prepared or {}):
        return None
    return Attachment(f"{dataset.prefix}/{OUTPUTS}", f"{dataset.name}-{OUTPUTS}", BINARY)
