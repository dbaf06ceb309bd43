"""Models and their versions: finding the one a client names, registering a new one, checkpoints."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Integer,
    Select,
    String,
    bindparam,
    cast,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared.errors import Conflict, NotFound
from shared.family import Family
from shared.ids import new_id
from shared.services.names import check_model_name, split_reference
from shared.services.pages import ALWAYS, Cursor, Page, Period, having, made_within, page
from shared.states import FINAL_JOB_STATES, JobState, Modality
from shared.tables.job import Job
from shared.tables.model import Checkpoint, Model, ModelVersion


class ModelNotFound(NotFound):
    """There is no such model, or it has no version yet."""

    code = "model_not_found"


@dataclass(frozen=True)
class NewVersion:
    """A version whose files are stored and which waits for its row."""

    prefix: str
    files: Mapping[str, str]
    """SHA-256 by file name."""
    config: dict[str, Any]
    card: dict[str, Any]

    @property
    def weights_hash(self) -> str:
        """SHA-256 over the names and hashes of all files: equal for equal models."""
        return hashlib.sha256(json.dumps(dict(sorted(self.files.items()))).encode()).hexdigest()


_THE_VERSION = (ModelVersion.model_id == Model.id) & (
    ModelVersion.version
    == func.coalesce(bindparam("number", type_=Integer), Model.promoted_version)
)
_THE_MODEL = (
    Model.tenant_id == bindparam("tenant"),
    Model.name == bindparam("name"),
    Model.promoted_version.is_not(None),
)
_LOOK = select(Model, ModelVersion).outerjoin(ModelVersion, _THE_VERSION).where(*_THE_MODEL)
_HOLD = (
    select(Model, ModelVersion)
    .join(ModelVersion, _THE_VERSION)
    .where(*_THE_MODEL)
    .with_for_update(of=ModelVersion, read=True, key_share=True)
)


def resolve(
    session: Session, tenant_id: str, reference: str, *, param: str = "model", hold: bool = False
) -> tuple[Model, ModelVersion]:
    """The model and version behind `name` or `name@version`. Raises ModelNotFound.

    With `hold`, for work that is being accepted, nobody deletes the version before the transaction
    is over.
    """
    name, number = split_reference(reference, param)
    names = {"tenant": tenant_id, "name": name, "number": number}
    held = session.execute(_HOLD, names).one_or_none() if hold else None
    if held is not None:
        return held[0], held[1]
    found = session.execute(_LOOK, names).one_or_none()
    if found is None:
        raise ModelNotFound(f"{param}: no model {name!r}", param=param)
    model, version = found
    if version is None:
        wanted = number if number is not None else model.promoted_version
        raise ModelNotFound(f"{param}: model {name!r} has no version {wanted}", param=param)
    if hold:  # the version was just deleted, and another one answers now
        return resolve(session, tenant_id, reference, param=param, hold=True)
    return model, version


def reference_of(session: Session, job: Job) -> str | None:
    """The version that a job runs, as `name@version`; None once it is deleted."""
    version = select(Model.name, ModelVersion.version).join(
        Model, ModelVersion.model_id == Model.id
    )
    found = session.execute(version.where(ModelVersion.id == job.model_version_id)).one_or_none()
    return None if found is None else f"{found.name}@{found.version}"


def _named(tenant_id: str, name: str) -> Select[Model]:
    return _of_tenant(tenant_id).where(Model.name == name)


def _of_tenant(tenant_id: str) -> Select[Model]:
    """A tenant's models, without those of which only the numbers of deleted versions are left."""
    return select(Model).where(Model.tenant_id == tenant_id, Model.promoted_version.is_not(None))


def hold(session: Session, version_id: str) -> bool:
    """Keep a version from being deleted until the transaction is over. False: it was."""
    chosen = select(ModelVersion.id).where(ModelVersion.id == version_id)
    return session.scalar(chosen.with_for_update(read=True, key_share=True)) is not None


def version_by_id(session: Session, id_: str) -> tuple[Model, ModelVersion]:
    """A version and its model, for whoever holds the id of an accepted job. Raises ModelNotFound
    when it was deleted since.
    """
    version = session.get(ModelVersion, id_)
    if version is None:
        raise ModelNotFound("The model was deleted.")
    return session.get_one(Model, version.model_id), version


def check_target(session: Session, tenant_id: str, name: str, family: Family) -> None:
    """Check that a training may register under a name.

    Raises Invalid, or Conflict for another family.
    """
    check_model_name(name, "model")
    found = session.scalar(_named(tenant_id, name))
    if found is not None and found.family != family.name:
        raise Conflict(
            f"model: {name!r} is of family {found.family}; choose another name for {family.name}",
            param="model",
        )


def register(
    session: Session,
    tenant_id: str,
    name: str,
    family: Family,
    new: NewVersion,
    job_id: str | None = None,
) -> ModelVersion:
    """Add a version to a model, making the model at its first, and let it answer from now on."""
    session.execute(
        insert(Model)
        .values(
            id=new_id("model"),
            tenant_id=tenant_id,
            name=check_model_name(name, "model"),
            family=family.name,
            modality=family.modality,
        )
        .on_conflict_do_nothing(index_elements=["tenant_id", "name"])
    )
    locked = select(Model).where(Model.tenant_id == tenant_id, Model.name == name).with_for_update()
    model = session.scalars(locked).one()
    check_target(session, tenant_id, name, family)
    if model.promoted_version is None:  # new, or as good as new: all its versions were deleted
        model.family, model.modality = family.name, family.modality
        model.created_at = func.now()
    last = session.scalar(
        select(func.max(ModelVersion.version)).where(ModelVersion.model_id == model.id)
    )
    version = ModelVersion(
        id=new_id("version"),
        model_id=model.id,
        version=max(last or 0, model.deleted_version) + 1,
        prefix=new.prefix,
        files=dict(new.files),
        weights_hash=new.weights_hash,
        config=new.config,
        card=new.card,
        job_id=job_id,
    )
    session.add(version)
    model.promoted_version = version.version
    session.flush()
    return version


def versions_named(tenant_id: str, reference: str) -> Select[str]:
    """The ids of the versions that `name` or `name@version` means; none, if it means nothing."""
    name, _, version = reference.partition("@")
    versions = select(ModelVersion.id).join(Model, Model.id == ModelVersion.model_id)
    versions = versions.where(Model.tenant_id == tenant_id, Model.name == name)
    if "@" in reference:
        versions = versions.where(cast(ModelVersion.version, String) == version)
    return versions


def check_named(session: Session, tenant_id: str, reference: str, *, param: str) -> None:
    """Raises NotFound where `name` or `name@version` means no version there is."""
    if session.scalar(versions_named(tenant_id, reference).limit(1)) is None:
        raise NotFound(f"{param}: no model {reference!r}", param=param)


@dataclass(frozen=True)
class Filter:
    """Which models of a list are wanted."""

    family: str | None = None
    modality: Modality | None = None
    period: Period = ALWAYS


def list_models(
    session: Session, tenant_id: str, cursor: Cursor, only: Filter | None = None
) -> Page[Model]:
    """A page of a tenant's models."""
    only = only or Filter()
    wanted = {Model.family: only.family, Model.modality: only.modality}
    chosen = having(_of_tenant(tenant_id), wanted)
    chosen = made_within(chosen, Model, "model", only.period)
    return page(session, chosen, Model.id, cursor)


def models_of(session: Session, tenant_id: str) -> Sequence[Model]:
    """All of a tenant's models, newest first."""
    return session.scalars(_of_tenant(tenant_id).order_by(Model.id.desc())).all()


def get(session: Session, tenant_id: str, name: str) -> Model:
    """A tenant's model by name. Raises ModelNotFound."""
    found = session.scalar(_named(tenant_id, name))
    if found is None:
        raise ModelNotFound(f"No model {name!r}.")
    return found


def versions_of(session: Session, model: Model) -> Sequence[ModelVersion]:
    """A model's versions, newest first."""
    chosen = select(ModelVersion).where(ModelVersion.model_id == model.id)
    return session.scalars(chosen.order_by(ModelVersion.version.desc())).all()


def promote(session: Session, model: Model, version: int) -> None:
    """Let another version answer to the model's name. Raises ModelNotFound."""
    resolve(session, model.tenant_id, f"{model.name}@{version}", param="version")
    session.execute(update(Model).where(Model.id == model.id).values(promoted_version=version))


def checkpoints_of(session: Session, job_id: str) -> Sequence[Checkpoint]:
    """A training job's checkpoints, newest first."""
    chosen = select(Checkpoint).where(Checkpoint.job_id == job_id)
    return session.scalars(chosen.order_by(Checkpoint.id.desc())).all()


def trainings_to_tidy(session: Session) -> Sequence[Job]:
    """Training jobs that still have checkpoints which nobody needs: of those that succeeded, and of
    those that ended otherwise a day ago and were not retried.
    """
    kept = select(Checkpoint.job_id)
    long_over = Job.finished_at < func.now() - func.make_interval(0, 0, 0, 1)
    needless = or_(Job.state == JobState.SUCCEEDED, Job.state.in_(FINAL_JOB_STATES) & long_over)
    return session.scalars(select(Job).where(Job.id.in_(kept), needless).limit(20)).all()


def forget_checkpoints(session: Session, job_id: str) -> None:
    """Delete the rows of a job's checkpoints."""
    session.execute(delete(Checkpoint).where(Checkpoint.job_id == job_id))
