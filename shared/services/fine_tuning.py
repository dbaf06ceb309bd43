"""Fine-tuning: trainings in the words of OpenAI's clients - a model, a file, hyperparameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared import catalog
from shared.errors import AtelierError, Invalid, NotFound
from shared.family import MAX_SECONDS, Family
from shared.ids import PREFIXES, new_id
from shared.preparation import SIZES
from shared.services import datasets, files, jobs, models, submissions
from shared.services.invalid import invalid
from shared.services.names import split_reference, tuned_name
from shared.services.pages import Cursor, Page
from shared.states import JobKind, Modality
from shared.tables.dataset import Dataset
from shared.tables.job import Job
from shared.tables.model import ModelVersion

PURPOSE = "fine-tune"
_SAME = {"n_epochs": "max_epochs", "learning_rate_multiplier": "learning_rate"}
"""Hyperparameters of OpenAI's clients, and what families call the same."""
_MODES = {1: "grey", 3: "colour"}
"""How pictures are prepared, by the channels of the model that is to learn from them."""


@dataclass(frozen=True)
class NewTuning:
    """What a fine-tuning job asks for."""

    model: str
    """A family, to start from nothing, or one of the tenant's models."""
    training_file: str
    """A file's id, or a prepared data set."""
    method: str | None
    hyperparameters: Mapping[str, Any]
    where: tuple[str, ...]
    """Where these stand in the request."""
    suffix: str | None = None
    seed: int | None = None
    validation_file: str | None = None
    """What it is measured on, as `training_file`; absent: a part of that, which is held back."""


def create(session: Session, common: submissions.Common, new: NewTuning) -> Job:
    """Accept a fine-tuning; a file that is no data set yet becomes one first.

    Hint the lanes `light` and `training` after the commit. Raises Invalid, NotFound or Conflict.
    """
    family, base = _base(session, common.tenant_id, new.model)
    params = _params(family, new)
    base_name = split_reference(new.model.removeprefix(Family.PREFIX), "model")[0]
    name = tuned_name(base_name, new.suffix, new_id("model"))
    given = [new.training_file, new.validation_file]
    own = [one for one in given if one is not None and one.startswith(PREFIXES["file"])]
    datasets.hold_names(session, common.tenant_id, own)
    validation = _validation(session, common, new, family)
    dataset = _dataset(session, common, _training_data(new, family, base), family)
    if validation is not None and not set(validation.files).isdisjoint(dataset.files):
        raise Invalid(
            "validation_file: it is learnt from as well; give examples that training_file lacks",
            param="validation_file",
        )
    reference = new.model if base is not None else None
    training = submissions.NewTraining(family.name, dataset.id, name, params, reference)
    return submissions.create_training(session, common, training, dataset, validation)


def method_of(family: Family) -> str:
    """What this family's training is called."""
    return "supervised" if family.modality == Modality.TEXT else "gan"


def _base(session: Session, tenant_id: str, reference: str) -> tuple[Family, ModelVersion | None]:
    found = catalog.families().get(reference.removeprefix(Family.PREFIX))
    if found is not None:
        return found, None
    try:
        model, version = models.resolve(session, tenant_id, reference)
    except models.ModelNotFound as error:
        known = ", ".join(sorted(catalog.families()))
        message = f"{error.message}; to start from nothing, name a family: {known}"
        raise models.ModelNotFound(message, param="model") from None
    return catalog.family(model.family), version


def _params(family: Family, new: NewTuning) -> dict[str, Any]:
    """The family's own parameters. Raises Invalid naming each as the client did."""
    method = method_of(family)
    if family.training is None:
        raise Invalid(f"model: {family.name} cannot be trained", param="model")
    if new.method not in {None, method}:
        raise Invalid(f"method.type: {family.name} is trained by {method!r}", param="method.type")
    given = {name: value for name, value in new.hyperparameters.items() if value is not None}
    _refuse_said_twice(given, new)
    if new.seed is not None:
        given["seed"] = new.seed
    if "n_epochs" in given:
        # Who counts in epochs wants all of them, however long they take.
        given = {"max_seconds": MAX_SECONDS, "max_epochs": given.pop("n_epochs"), **given}
    if "learning_rate_multiplier" in given:
        usual = family.training.model_fields["learning_rate"].default
        given["learning_rate"] = usual * given.pop("learning_rate_multiplier")
    try:
        return family.training.model_validate(given).model_dump(mode="json")
    except ValidationError as error:
        raise invalid(error, *new.where) from None


def _refuse_said_twice(given: Mapping[str, Any], new: NewTuning) -> None:
    for theirs, ours in _SAME.items():
        if theirs in given and ours in given:
            where = ".".join((*new.where, ours))
            raise Invalid(f"{where}: give it or {theirs}, not both", param=where)
    if new.seed is not None and "seed" in given:
        raise Invalid("seed: it stands among the hyperparameters too", param="seed")


@dataclass(frozen=True)
class _Data:
    """What a client named as data."""

    field: str
    reference: str
    """A file's id, or a prepared data set."""
    options: dict[str, Any]
    """How a file of it is prepared."""


def _training_data(new: NewTuning, family: Family, base: ModelVersion | None) -> _Data:
    """What is learnt from; all of a file, where another one is there to measure with. Pictures are
    prepared as their base has them, or else as they come.
    """
    options: dict[str, Any] = {}
    if family.modality == Modality.IMAGE:
        config = base.config if base is not None else {}
        size = config.get("size") if config.get("size") in SIZES else None
        options = {"size": size, "mode": _MODES.get(config.get("channels", 0), "auto")}
    if new.validation_file is not None:
        options |= {"validation": 0, "test": 0}
    return _Data("training_file", new.training_file, options)


def _validation(
    session: Session, common: submissions.Common, new: NewTuning, family: Family
) -> Dataset | None:
    if new.validation_file is None:
        return None
    if family.modality != Modality.TEXT:
        raise Invalid(
            f"validation_file: {family.name} is measured on a part of its data set, which is held "
            "back; leave it out",
            param="validation_file",
        )
    return _dataset(
        session,
        common,
        _Data("validation_file", new.validation_file, {"validation": 1, "test": 0}),
        family,
    )


def _dataset(session: Session, common: submissions.Common, data: _Data, family: Family) -> Dataset:
    """The data set that is meant: prepared before, or from now on by a job of its own."""
    tenant_id = common.tenant_id
    if not data.reference.startswith(PREFIXES["file"]):
        return _prepared(session, tenant_id, data, family)
    file = files.get(session, tenant_id, data.reference, param=data.field)
    if file.purpose != PURPOSE:
        raise Invalid(
            f"{data.field}: {file.id} was uploaded for {file.purpose!r}; upload it with the "
            f"purpose {PURPOSE!r}",
            param=data.field,
        )
    modality, options = family.modality, data.options
    return datasets.of_file(session, tenant_id, file.id, modality, options, common.key_id)


def _prepared(session: Session, tenant_id: str, data: _Data, family: Family) -> Dataset:
    try:
        dataset = datasets.resolve(session, tenant_id, data.reference)
        submissions.check_modality(dataset, family)
        return dataset
    except AtelierError as error:
        # The client's word for it is another.
        message = f"{data.field}: {error.message.removeprefix('dataset: ')}"
        raise type(error)(message, param=data.field) from None


def get(session: Session, tenant_id: str, id_: str) -> Job:
    """A tenant's training job. Raises NotFound."""
    job = session.scalar(
        select(Job).where(Job.id == id_, Job.tenant_id == tenant_id, Job.kind == JobKind.TRAINING)
    )
    if job is None:
        raise NotFound(f"No fine-tuning job {id_!r}.")
    return job


def list_jobs(
    session: Session, tenant_id: str, cursor: Cursor, metadata: Mapping[str, str]
) -> Page[Job]:
    """A page of a tenant's training jobs, however they were submitted, whose metadata has all of
    this. By metadata it is fast only within a transaction.
    """
    only = jobs.Filter(JobKind.TRAINING, pairs=tuple(metadata.items()))
    return jobs.list_jobs(session, tenant_id, cursor, only)
