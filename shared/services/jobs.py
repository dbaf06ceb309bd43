"""Jobs: accepting each kind, looking at them, cancelling and pausing them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, select, text
from sqlalchemy.orm import Session

from shared import catalog
from shared.errors import Conflict, Invalid, NotFound
from shared.family import Family
from shared.ids import new_id
from shared.services import datasets, files, models
from shared.services.admission import admit
from shared.services.invalid import invalid
from shared.services.items import Items, check_items
from shared.services.ledger import cancel as ledger_cancel
from shared.services.ledger import flows
from shared.services.ledger import pause as ledger_pause
from shared.services.ledger.accept import NewItem, add_items, add_step
from shared.services.pages import ALWAYS, Cursor, Made, Page, having, made_within, page
from shared.services.quotas import check_room
from shared.states import DatasetState, JobKind, JobState, Lane, Step
from shared.tables.dataset import Dataset
from shared.tables.job import Job
from shared.tables.model import Model, ModelVersion

MAX_ITEMS = 100_000
"""Most items in one request; longer input comes as a file."""


@dataclass(frozen=True)
class Common:
    """What a job of any kind takes."""

    tenant_id: str
    priority: int = 0
    deadline: datetime | None = None
    """What has not started by then expires."""
    metadata: dict[str, str] = field(default_factory=dict)
    webhook_id: str | None = None
    """A webhook that is told of its end."""
    key_id: str | None = None
    """The API key that asks for it; absent where nobody can be told of its usage."""


def create_generation(
    session: Session,
    common: Common,
    reference: str,
    wanted: Items,
    kind: JobKind = JobKind.GENERATION,
) -> Job:
    """Accept items for a model, of a kind that has outputs. Hint the job's lane after the commit.

    Every item is checked first: one fault refuses the whole request, and up to 20 faults are named.
    """
    if not 0 < len(wanted) <= MAX_ITEMS:
        raise Invalid(
            f"items: a request takes 1 to {MAX_ITEMS} items; send more as an input_file",
            param="items",
        )
    model, version = models.resolve(session, common.tenant_id, reference)
    check_room(session, common.tenant_id, len(wanted))
    job = _generation_job(common, model, version, reference, kind)
    session.add(job)
    add_items(session, job, check_items(wanted, kind, model, version))
    admit(session, job, version)
    return job


def create_generation_from_file(
    session: Session,
    common: Common,
    reference: str,
    input_file_id: str,
    kind: JobKind = JobKind.GENERATION,
) -> Job:
    """Accept a file of items, one JSON object a line. Hint lane `light` after the commit."""
    files.hold(session, common.tenant_id, input_file_id, param="input_file")
    model, version = models.resolve(session, common.tenant_id, reference)
    check_room(session, common.tenant_id, 1)
    catalog.family(model.family).params(kind)
    job = _generation_job(common, model, version, reference, kind)
    job.input_file_id = input_file_id
    job.state = JobState.VALIDATING
    session.add(job)
    add_step(session, job, Step.VALIDATE)
    admit(session, job, version)
    return job


def _generation_job(
    common: Common, model: Model, version: ModelVersion, reference: str, kind: JobKind
) -> Job:
    return Job(
        id=new_id("job"),
        tenant_id=common.tenant_id,
        key_id=common.key_id,
        kind=kind,
        state=JobState.QUEUED,
        lane=Lane(model.modality),
        priority=common.priority,
        deadline=common.deadline,
        webhook_id=common.webhook_id,
        family=model.family,
        model=reference,
        model_version_id=version.id,
        meta=common.metadata,
    )


@dataclass(frozen=True)
class NewTraining:
    """What a training job asks for."""

    family: str | None
    """May be left out where `base` says it."""
    dataset: str
    model: str
    """The name under which a new version is registered."""
    params: dict[str, Any]
    base: str | None = None
    """The model whose weights it starts from."""


def create_training(
    session: Session, common: Common, new: NewTraining, known: Dataset | None = None
) -> Job:
    """Accept a training on a data set that is ready, or wait for the one that is `known`.

    Hint lane `training` after the commit. Raises Invalid, NotFound or Conflict.
    """
    family, base = _family_and_base(session, common.tenant_id, new)
    if family.training is None:
        raise Invalid(f"family: {family.name} cannot be trained", param="family")
    try:
        params = family.training.model_validate(new.params)
    except ValidationError as error:
        raise invalid(error, "params") from None
    dataset = known or datasets.resolve(session, common.tenant_id, new.dataset)
    check_modality(dataset, family)
    models.check_target(session, common.tenant_id, new.model, family)
    check_room(session, common.tenant_id, 1)
    job = _long_job(common, JobKind.TRAINING, family.name, new.model, dataset.id)
    job.params = params.model_dump(mode="json")
    job.model_version_id = base.id if base is not None else None
    session.add(job)
    if dataset.state == DatasetState.PREPARING:
        job.state = JobState.VALIDATING  # ledger/trainings.py queues its item
    else:
        add_items(session, job, [NewItem(batch_key=job.id)])
    admit(session, job)
    return job


def _family_and_base(
    session: Session, tenant_id: str, new: NewTraining
) -> tuple[Family, ModelVersion | None]:
    if new.base is None:
        if new.family is None:
            raise Invalid("family: a training job needs it, or a base", param="family")
        return catalog.family(new.family), None
    model, version = models.resolve(session, tenant_id, new.base, param="base")
    if new.family not in {None, model.family}:
        raise Invalid(f"base: {new.base!r} is of family {model.family}", param="base")
    return catalog.family(model.family), version


def create_evaluation(session: Session, common: Common, reference: str, dataset: str) -> Job:
    """Accept an evaluation: the metrics of a model version on a data set's test split."""
    model, version = models.resolve(session, common.tenant_id, reference)
    prepared = datasets.resolve(session, common.tenant_id, dataset)
    check_modality(prepared, catalog.family(model.family))
    check_room(session, common.tenant_id, 1)
    job = _long_job(common, JobKind.EVALUATION, model.family, reference, prepared.id)
    job.model_version_id = version.id
    session.add(job)
    add_items(session, job, [NewItem(batch_key=job.id)])
    admit(session, job, version)
    return job


def _long_job(common: Common, kind: JobKind, family: str, model: str, dataset_id: str) -> Job:
    return Job(
        id=new_id("job"),
        tenant_id=common.tenant_id,
        key_id=common.key_id,
        kind=kind,
        state=JobState.QUEUED,
        lane=Lane.TRAINING,
        priority=common.priority,
        deadline=common.deadline,
        webhook_id=common.webhook_id,
        family=family,
        model=model,
        dataset_id=dataset_id,
        meta=common.metadata,
    )


def check_modality(dataset: Dataset, family: Family) -> None:
    """Raises Invalid for data of another kind than the family learns from."""
    if dataset.modality != family.modality:
        raise Invalid(
            f"dataset: {dataset.name!r} holds {dataset.modality}, "
            f"{family.name} needs {family.modality}",
            param="dataset",
        )


def get(session: Session, tenant_id: str, id_: str) -> Job:
    """A tenant's job. Raises NotFound."""
    found = session.scalar(select(Job).where(Job.id == id_, Job.tenant_id == tenant_id))
    if found is None:
        raise NotFound(f"No job {id_!r}.")
    return found


@dataclass(frozen=True)
class Filter:
    """Which jobs of a list are wanted."""

    kind: JobKind | None = None
    state: JobState | None = None
    model: str | None = None
    made: Made = ALWAYS
    metadata: str | None = None
    """A name of its metadata, or `name=value`."""


def list_jobs(session: Session, tenant_id: str, cursor: Cursor, only: Filter) -> Page[Job]:
    """A page of a tenant's jobs. By metadata it is fast only within a transaction."""
    wanted = {Job.kind: only.kind, Job.state: only.state, Job.model: only.model}
    chosen = having(select(Job).where(Job.tenant_id == tenant_id), wanted)
    chosen = made_within(chosen, Job, "job", only.made)
    if only.metadata is not None:
        # The index of metadata can be read in no other way; see shared/db.py.
        session.execute(text("SET LOCAL enable_bitmapscan = on"))
        chosen = chosen.where(Job.meta != {}, _has(only.metadata))
    return page(session, chosen, Job.id, cursor)


def _has(metadata: str) -> ColumnElement[bool]:
    name, has_value, value = metadata.partition("=")
    return Job.meta.contains({name: value}) if has_value else Job.meta.has_key(name)


_AHEAD = text("""
    SELECT coalesce(sum(least(other.queued, mine.queued)), 0)
    FROM flows mine JOIN wall.flows_of_all other ON other.lane = mine.lane
    WHERE mine.lane = :lane AND mine.tenant_id = :tenant
""")


def progress(job: Job) -> float:
    """How far a job is, 0 to 1: by its items, or for a job of one long item by what its worker
    says.
    """
    ended = job.done + job.failed + job.cancelled + job.expired
    by_items = ended / job.total if job.total else 0.0
    return by_items if JobKind(job.kind).has_outputs else max(by_items, job.progress)


def position(session: Session, job: Job) -> int | None:
    """About how many items run before this job's last one; None once nothing of it waits.

    An estimate from the flows' counters: each other tenant gets about as many turns as this one.
    """
    if job.queued == 0 or job.state not in {JobState.QUEUED, JobState.RUNNING}:
        return None
    flows.apply(session)
    names = {"lane": job.lane, "tenant": job.tenant_id}
    return int(session.execute(_AHEAD, names).scalar_one())


def cancel(session: Session, tenant_id: str, id_: str) -> Job:
    """Ask a job to end. Raises Conflict when it has ended already."""
    job = get(session, tenant_id, id_)
    preparation = _hold_preparation(session, job)
    is_new = ledger_cancel.cancel(session, job)
    if is_new and preparation is not None:
        ledger_cancel.cancel(session, preparation)
    # Another may have changed it since it was read.
    session.refresh(job)
    if not is_new and job.state != JobState.CANCELLING:
        raise Conflict(f"Job {id_} is {job.state}; it cannot be cancelled any more.")
    return job


def _hold_preparation(session: Session, job: Job) -> Job | None:
    """The job that prepares the data set for which a training waits, locked.

    It is locked before the training, as it is where its own end reaches the training.
    """
    if job.kind != JobKind.TRAINING or job.state != JobState.VALIDATING:
        return None
    preparing = select(Job).join(Dataset, Dataset.job_id == Job.id)
    mine = preparing.where(Dataset.id == job.dataset_id)
    return session.scalars(mine.with_for_update(key_share=True, of=Job)).one()


def pause(session: Session, tenant_id: str, id_: str) -> Job:
    """Keep a job from running until it is resumed. Raises Conflict when it neither waits nor
    runs.
    """
    job = get(session, tenant_id, id_)
    is_new = ledger_pause.pause(session, job)
    # Another may have changed it since it was read.
    session.refresh(job)
    if not is_new and job.state != JobState.PAUSED:
        raise Conflict(f"Job {id_} is {job.state}; only a queued or running job can be paused.")
    return job


def resume(session: Session, tenant_id: str, id_: str) -> Job:
    """Let a paused job run on. Hint its lane after the commit. Raises Conflict."""
    job = get(session, tenant_id, id_)
    is_resumed = ledger_pause.resume(session, job)
    session.refresh(job)
    if not is_resumed:
        raise Conflict(f"Job {id_} is {job.state}; only a paused job can be resumed.")
    return job


_PROGRESS = text("UPDATE jobs SET progress = :progress WHERE id = :job AND state = 'running'")


def set_progress(session: Session, job_id: str, progress: float) -> None:
    """Say how far a job of one long item is, 0 to 1."""
    session.execute(_PROGRESS, {"job": job_id, "progress": min(1.0, progress)})
