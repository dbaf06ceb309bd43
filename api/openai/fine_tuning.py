"""Fine-tuning, in the shapes of the OpenAI API: the same jobs as the native API's trainings."""

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.auth import caller, needs
from api.creates import create_once, takes_key
from api.openai.fine_tuning_bodies import FineTuningJobBody, TuningsQuery
from api.openai.fine_tuning_shapes import (
    FineTuningJobAnswer,
    TuningCheckpointAnswer,
    TuningEventAnswer,
    show_checkpoint,
    show_tuning,
    show_tuning_event,
)
from api.pagination import ListAnswer, answer_list
from api.requests import require_json
from api.routes.events import EventPageQuery
from shared.db import reading, transaction
from shared.queues import hint
from shared.services import checkpoints, events, fine_tuning, jobs, submissions
from shared.services.tuning_names import names_of
from shared.states import JobState, Lane, Scope
from shared.tables.job import Job

blueprint = APIBlueprint(
    "fine_tuning",
    __name__,
    url_prefix="/v1/fine_tuning/jobs",
    abp_tags=[Tag(name="fine-tuning", description="Trainings, in the shape of the OpenAI API.")],
    abp_security=[{"key": []}],
)


class TuningPath(BaseModel):
    """Which job."""

    id: str


@blueprint.post("", responses={200: FineTuningJobAnswer}, summary="Train a model")
@needs(Scope.TRAIN)
@takes_key
def create_fine_tuning_job(body: FineTuningJobBody) -> Response:
    require_json()
    common = submissions.Common(
        caller().tenant_id, metadata=body.metadata or {}, key_id=caller().key_id
    )
    where, hyperparameters = body.chosen()
    new = fine_tuning.NewTuning(
        model=body.model,
        training_file=body.training_file,
        method=body.method.type if body.method is not None else None,
        hyperparameters=hyperparameters.model_dump(),
        where=where,
        suffix=body.suffix,
        seed=body.seed,
        validation_file=body.validation_file,
    )

    def create(session: Session) -> tuple[FineTuningJobAnswer, Lane]:
        job = fine_tuning.create(session, common, new)
        session.flush()
        session.refresh(job)
        return _show(session, job), _lane(job)

    return create_once(200, create)


def _lane(job: Job) -> Lane:
    """Where it goes on: a data set is prepared on lane `light`."""
    return Lane.LIGHT if job.state == JobState.VALIDATING else Lane.TRAINING


@blueprint.get("", responses={200: ListAnswer[FineTuningJobAnswer]}, summary="List trainings")
@needs(Scope.READ)
def list_fine_tuning_jobs(query: TuningsQuery) -> Response:
    wanted = query.metadata or {}
    with transaction() if wanted else reading() as session:
        found = fine_tuning.list_jobs(session, caller().tenant_id, query.cursor(), wanted)
        names = names_of(session, found.rows)
        return answer_list(found, lambda job: show_tuning(job, names[job.id]))


@blueprint.get("/<string:id>", responses={200: FineTuningJobAnswer}, summary="Look at a training")
@needs(Scope.READ)
def get_fine_tuning_job(path: TuningPath) -> Response:
    with reading() as session:
        return _answer(session, fine_tuning.get(session, caller().tenant_id, path.id))


@blueprint.post(
    "/<string:id>/cancel", responses={200: FineTuningJobAnswer}, summary="Cancel a training"
)
@needs(Scope.TRAIN)
def cancel_fine_tuning_job(path: TuningPath) -> Response:
    with transaction() as session:
        job = fine_tuning.get(session, caller().tenant_id, path.id)
        return _answer(session, jobs.cancel(session, job.tenant_id, job.id))


@blueprint.post(
    "/<string:id>/pause", responses={200: FineTuningJobAnswer}, summary="Pause a training"
)
@needs(Scope.TRAIN)
def pause_fine_tuning_job(path: TuningPath) -> Response:
    with transaction() as session:
        job = fine_tuning.get(session, caller().tenant_id, path.id)
        return _answer(session, jobs.pause(session, job.tenant_id, job.id))


@blueprint.post(
    "/<string:id>/resume", responses={200: FineTuningJobAnswer}, summary="Resume a paused training"
)
@needs(Scope.TRAIN)
def resume_fine_tuning_job(path: TuningPath) -> Response:
    with transaction() as session:
        job = fine_tuning.get(session, caller().tenant_id, path.id)
        response = _answer(session, jobs.resume(session, job.tenant_id, job.id))
    hint(Lane.TRAINING)
    return response


def _show(session: Session, job: Job) -> FineTuningJobAnswer:
    return show_tuning(job, names_of(session, [job])[job.id])


def _answer(session: Session, job: Job) -> Response:
    return jsonify(_show(session, job).model_dump(mode="json"))


@blueprint.get(
    "/<string:id>/events",
    responses={200: ListAnswer[TuningEventAnswer]},
    summary="List a training's events",
)
@needs(Scope.READ)
def list_tuning_events(path: TuningPath, query: EventPageQuery) -> Response:
    with reading() as session:
        job = fine_tuning.get(session, caller().tenant_id, path.id)
        found = events.list_events(session, job, query.cursor(int))
        return answer_list(found, show_tuning_event)


@blueprint.get(
    "/<string:id>/checkpoints",
    responses={200: ListAnswer[TuningCheckpointAnswer]},
    summary="List a training's checkpoints",
)
@needs(Scope.READ)
def list_tuning_checkpoints(path: TuningPath, query: EventPageQuery) -> Response:
    with reading() as session:
        job = fine_tuning.get(session, caller().tenant_id, path.id)
        found = checkpoints.list_checkpoints(session, job, query.cursor(int))
        return answer_list(found, lambda saved: show_checkpoint(job, saved))
