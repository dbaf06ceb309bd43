"""Submissions: what each kind of job takes, and its acceptance."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from shared import catalog
from shared.errors import Invalid
from shared.family import Family
from shared.ids import new_id
from shared.services import datasets, files, models
from shared.services.admission import admit
from shared.services.invalid import invalid
from shared.services.items import Items, check_items
from shared.services.ledger.accept import NewItem, add_items, add_step
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
    resolved: tuple[Model, ModelVersion] | None = None,
) -> Job:
    """Accept items for a model, of a kind that has outputs. Hint the job's lane after the commit.

    Every item is checked first: one fault refuses the whole request, and up to 20 faults are named.
    `resolved` is what `reference` means, for whoever has looked already and holds it.
    """
    if not 0 < len(wanted) <= MAX_ITEMS:
        raise Invalid(
            f"items: a request takes 1 to {MAX_ITEMS} items; send more as an input_file",
            param="items",
        )
    model, version = resolved or models.resolve(session, common.tenant_id, reference, hold=True)
    room = check_room(session, common.tenant_id, len(wanted), common.key_id)
    job = _on_version(common, kind, reference, model, version)
    session.add(job)
    add_items(session, job, check_items(wanted, kind, model, version))
    admit(session, job, room, version)
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
    model, version = models.resolve(session, common.tenant_id, reference, hold=True)
    room = check_room(session, common.tenant_id, 1, common.key_id)
    catalog.family(model.family).params(kind)
    job = _on_version(common, kind, reference, model, version)
    job.input_file_id = input_file_id
    job.state = JobState.VALIDATING
    session.add(job)
    add_step(session, job, Step.VALIDATE)
    admit(session, job, room, version)
    return job


def new_job(common: Common, kind: JobKind, lane: Lane, **columns: Any) -> Job:
    """A job's row, not yet added to a session; `columns` are those that only some kinds have."""
    return Job(
        id=new_id("job"),
        tenant_id=common.tenant_id,
        key_id=common.key_id,
        kind=kind,
        state=JobState.QUEUED,
        lane=lane,
        priority=common.priority,
        deadline=common.deadline,
        webhook_id=common.webhook_id,
        meta=common.metadata,
        **columns,
    )


def _on_version(
    common: Common, kind: JobKind, reference: str, model: Model, version: ModelVersion
) -> Job:
    """A job of items for a model version, which its client named by `reference`."""
    return new_job(
        common,
        kind,
        Lane(model.modality),
        family=model.family,
        model=reference,
        model_version_id=version.id,
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
    session: Session,
    common: Common,
    new: NewTraining,
    known: Dataset | None = None,
    validation: Dataset | None = None,
) -> Job:
    """Accept a training on a data set that is ready, or wait for the one that is `known`, and for
    the one that it is to be measured on.

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
    room = check_room(session, common.tenant_id, 1, common.key_id)
    job = new_job(
        common,
        JobKind.TRAINING,
        Lane.TRAINING,
        family=family.name,
        model=new.model,
        model_version_id=base.id if base is not None else None,
        dataset_id=dataset.id,
        validation_dataset_id=validation.id if validation is not None else None,
        params=params.model_dump(mode="json"),
    )
    session.add(job)
    if DatasetState.PREPARING in {dataset.state, (validation or dataset).state}:
        job.state = JobState.VALIDATING  # ledger/trainings.py queues its item
    else:
        add_items(session, job, [NewItem(batch_key=job.id)])
    admit(session, job, room)
    return job


def _family_and_base(
    session: Session, tenant_id: str, new: NewTraining
) -> tuple[Family, ModelVersion | None]:
    if new.base is None:
        if new.family is None:
            raise Invalid("family: a training job needs it, or a base", param="family")
        return catalog.family(new.family), None
    model, version = models.resolve(session, tenant_id, new.base, param="base", hold=True)
    if new.family not in {None, model.family}:
        raise Invalid(f"base: {new.base!r} is of family {model.family}", param="base")
    return catalog.family(model.family), version


def create_evaluation(session: Session, common: Common, reference: str, dataset: str) -> Job:
    """Accept an evaluation: the metrics of a model version on a data set's test split."""
    model, version = models.resolve(session, common.tenant_id, reference, hold=True)
    prepared = datasets.resolve(session, common.tenant_id, dataset)
    check_modality(prepared, catalog.family(model.family))
    room = check_room(session, common.tenant_id, 1, common.key_id)
    job = new_job(
        common,
        JobKind.EVALUATION,
        Lane.TRAINING,
        family=model.family,
        model=reference,
        model_version_id=version.id,
        dataset_id=prepared.id,
    )
    session.add(job)
    add_items(session, job, [NewItem(batch_key=job.id)])
    admit(session, job, room, version)
    return job


def check_modality(dataset: Dataset, family: Family) -> None:
    """Raises Invalid for data of another kind than the family learns from."""
    if dataset.modality != family.modality:
        raise Invalid(
            f"dataset: {dataset.name!r} holds {dataset.modality}, "
            f"{family.name} needs {family.modality}",
            param="dataset",
        )
