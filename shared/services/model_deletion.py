"""Deleting models: what was trained here, a whole model or one version of it."""

from collections.abc import Sequence

from sqlalchemy import delete as delete_rows
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.errors import Conflict, Invalid
from shared.services.models import ModelNotFound, versions_of
from shared.services.names import split_reference
from shared.states import FINAL_JOB_STATES
from shared.tables.job import Job
from shared.tables.model import Model, ModelVersion


def delete(session: Session, tenant_id: str, reference: str) -> list[str]:
    """Delete `name` with all its versions, or `name@version` alone.

    Gives the storage prefixes to be deleted once that is committed. Of what is left the newest
    version answers to the name, if the one that did is gone. Raises ModelNotFound, or Conflict for
    an imported version and for one that a job still needs.
    """
    try:
        name, number = split_reference(reference, "model")
    except Invalid:
        raise ModelNotFound(f"No model {reference!r}.") from None
    mine = select(Model).where(Model.tenant_id == tenant_id, Model.name == name)
    model = session.scalar(mine.with_for_update())
    if model is None:
        raise ModelNotFound(f"No model {reference!r}.")
    versions = versions_of(session, model)
    gone = [version for version in versions if number in {None, version.version}]
    if not gone:
        raise ModelNotFound(f"No model {reference!r}.")
    _refuse_imported(model, gone)
    these = ModelVersion.id.in_([version.id for version in gone])
    # Whoever accepts a job holds its version: after the wait, the job is seen.
    session.execute(
        select(ModelVersion.id).where(these).order_by(ModelVersion.id).with_for_update()
    )
    _refuse_needed(session, tenant_id, gone)
    kept = [version.version for version in versions if version not in gone]
    session.execute(delete_rows(ModelVersion).where(these))
    model.deleted_version = max(model.deleted_version, *(version.version for version in gone))
    if not kept:
        # Its row stays, for the numbers that no other version gets.
        model.promoted_version = None
    elif model.promoted_version not in kept:
        model.promoted_version = max(kept)
    return [version.prefix for version in gone]


def _refuse_imported(model: Model, gone: Sequence[ModelVersion]) -> None:
    for version in gone:
        if version.job_id is None:
            raise Conflict(
                f"{model.name}@{version.version} was imported by the operator; only what was "
                "trained here can be deleted."
            )


def _refuse_needed(session: Session, tenant_id: str, gone: Sequence[ModelVersion]) -> None:
    needing = select(Job).where(
        Job.tenant_id == tenant_id,
        Job.state.not_in(FINAL_JOB_STATES),
        Job.model_version_id.in_([version.id for version in gone]),
    )
    job = session.scalars(needing.order_by(Job.id).limit(1)).first()
    if job is not None:
        raise Conflict(
            f"Job {job.id} is {job.state} and needs this model; cancel it, or delete the model "
            "when it has ended."
        )
