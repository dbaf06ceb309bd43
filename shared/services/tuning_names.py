"""The names behind a training's row: of its base, its data and its model. A page of trainings takes
as many statements as one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.services.names import is_tuned_name
from shared.states import JobState
from shared.tables.dataset import Dataset
from shared.tables.job import Job
from shared.tables.model import Model, ModelVersion


@dataclass(frozen=True)
class Names:
    """What a job's row only points to, as clients name it."""

    model: str
    training_file: str
    validation_file: str | None
    fine_tuned_model: str | None
    """Stands for the job's weights alone, or would, were they not deleted."""


def names_of(session: Session, trainings: Sequence[Job]) -> dict[str, Names]:
    """The names of training jobs, by the jobs' ids."""
    data = _data(session, trainings)
    bases = _bases(session, trainings)
    versions = _versions(session, trainings)
    return {
        job.id: Names(
            # From nothing, or from a model that was deleted since.
            model=bases.get(str(job.model_version_id), str(job.family)),
            training_file=data[str(job.dataset_id)],
            validation_file=data.get(str(job.validation_dataset_id)),
            fine_tuned_model=_result(job, versions),
        )
        for job in trainings
    }


def _data(session: Session, trainings: Sequence[Job]) -> dict[str, str]:
    """Data sets by id: the file of which alone one was made, or its name and version."""
    ids = [id_ for job in trainings for id_ in (job.dataset_id, job.validation_dataset_id) if id_]
    found = session.scalars(select(Dataset).where(Dataset.id.in_(ids)))
    return {
        one.id: one.name if one.files == [one.name] else f"{one.name}@{one.version}"
        for one in found
    }


def _bases(session: Session, trainings: Sequence[Job]) -> dict[str, str]:
    ids = [job.model_version_id for job in trainings if job.model_version_id]
    versions = select(ModelVersion.id, Model.name, ModelVersion.version).join(
        Model, Model.id == ModelVersion.model_id
    )
    rows = session.execute(versions.where(ModelVersion.id.in_(ids)))
    return {id_: f"{name}@{version}" for id_, name, version in rows}


def _versions(session: Session, trainings: Sequence[Job]) -> dict[str, int]:
    """The versions that jobs made, by the jobs' ids."""
    made = select(ModelVersion.job_id, ModelVersion.version)
    rows = session.execute(made.where(ModelVersion.job_id.in_([job.id for job in trainings])))
    return {str(job_id): version for job_id, version in rows}


def _result(job: Job, versions: Mapping[str, int]) -> str | None:
    if job.state != JobState.SUCCEEDED:
        return None
    version = versions.get(job.id)
    if version is None or is_tuned_name(str(job.model)):
        return job.model
    return f"{job.model}@{version}"
