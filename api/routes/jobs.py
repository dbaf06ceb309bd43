"""Jobs: submit, look, cancel, pause, resume, retry; their outputs."""

from typing import Any, Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.auth import caller, needs, require
from api.creates import create_once, takes_key
from api.pagination import DatasetId, JobId, ListAnswer, PeriodQuery, answer_list
from api.requests import let_go, require_json
from api.routes.estimates import EstimateAnswer, rehearse
from api.routes.outputs import JobOutputsQuery, OutputAnswer, show_outputs
from api.routes.submissions import JobBody, accept
from api.times import seconds, seconds_or_none
from shared import links
from shared.db import asking, reading, transaction
from shared.queues import hint
from shared.services import jobs, looks, outputs, retries
from shared.states import JobKind, JobState, Lane, Scope
from shared.tables.job import Job

blueprint = APIBlueprint(
    "jobs",
    __name__,
    url_prefix="/api/v1/jobs",
    abp_tags=[
        Tag(
            name="jobs",
            description="Work of every kind: submit it, watch it, end it, fetch what it made.",
        )
    ],
    abp_security=[{"key": []}],
)


class Counts(BaseModel):
    """A job's items by state."""

    total: int
    queued: int
    running: int
    done: int
    failed: int
    cancelled: int
    expired: int


class JobAnswer(BaseModel):
    """A job as it stands."""

    id: str
    object: Literal["job"] = "job"
    kind: JobKind
    state: JobState
    model: str | None
    family: str | None
    dataset: str | None
    input_file: str | None
    output_file: str | None
    error_file: str | None
    params: dict[str, Any]
    priority: int
    deadline: int | None
    counts: Counts
    progress: float = Field(description="0 to 1.")
    position: int | None = Field(description="About how many items run first; an estimate.")
    expected_at: int | None = Field(
        description="About when it is finished, if it goes on as it did so far; null while that "
        "cannot be known."
    )
    compute_seconds: float
    error: dict[str, Any] | None
    warnings: list[str]
    webhook: str | None
    metadata: dict[str, str]
    created_at: int
    started_at: int | None
    finished_at: int | None


def show_job(job: Job | looks.Look, position: int | None) -> JobAnswer:
    """A job as its answer."""
    counts = Counts(**{name: getattr(job, name) for name in Counts.model_fields})
    return JobAnswer(
        id=job.id,
        kind=JobKind(job.kind),
        state=JobState(job.state),
        model=job.model,
        family=job.family,
        dataset=job.dataset_id,
        input_file=job.input_file_id,
        output_file=job.output_file_id,
        error_file=job.error_file_id,
        params={name: value for name, value in (job.params or {}).items() if name != links.PARAM},
        priority=job.priority or 0,
        deadline=seconds_or_none(job.deadline),
        counts=counts,
        progress=round(looks.progress(job), 4),
        position=position,
        expected_at=seconds_or_none(looks.expected_end(job)),
        compute_seconds=round(job.compute_seconds or 0.0, 3),
        error=job.error,
        warnings=looks.warnings(job),
        webhook=job.webhook_id,
        metadata=job.meta or {},
        created_at=seconds(job.created_at),
        started_at=seconds_or_none(job.started_at),
        finished_at=seconds_or_none(job.finished_at),
    )


def _show(session: Session, job: Job) -> JobAnswer:
    """A job that this request made or changed."""
    return show_job(job, looks.position(session, job))


class JobPath(BaseModel):
    """Which job."""

    id: str


class JobsQuery(PeriodQuery[JobId]):
    """Which jobs."""

    kind: JobKind | None = None
    state: JobState | None = None
    model: str | None = Field(None, description="As the job names it.")
    dataset: DatasetId | None = Field(None, description="What they learn from or measure on.")
    metadata: str | None = Field(
        None, description="`name`: whose metadata has it; `name=value`: with this value."
    )


@blueprint.post(
    "",
    responses={202: JobAnswer, 200: EstimateAnswer},
    summary="Submit a job, or with `dry_run` see what it would take",
)
@needs(Scope.GENERATE, Scope.TRAIN)
@takes_key
def create_job(body: JobBody) -> Response:
    require_json()
    if body.dry_run:
        return rehearse(body)

    def create(session: Session) -> tuple[JobAnswer, Lane]:
        let_go()
        job = accept(session, body)
        session.flush()
        return _show(session, job), _lane(job)

    return create_once(202, create)


def _lane(job: Job) -> Lane:
    """Where what waits of a job waits: its steps run on lane `light`."""
    is_step = job.state in {JobState.VALIDATING, JobState.FINALIZING}
    return Lane.LIGHT if is_step else Lane(job.lane)


def _require_scope_of(job: Job) -> None:
    """Whoever may submit a kind of job may also end it and repeat it. Raises Forbidden."""
    require(Scope.GENERATE if JobKind(job.kind).has_outputs else Scope.TRAIN)


@blueprint.get("", responses={200: ListAnswer[JobAnswer]}, summary="List jobs")
@needs(Scope.READ)
def list_jobs(query: JobsQuery) -> Response:
    only = jobs.Filter(
        query.kind,
        query.state,
        query.model,
        query.period(),
        query.metadata,
        dataset_id=query.dataset,
    )
    with transaction() if query.metadata is not None else reading() as session:
        found = jobs.list_jobs(session, caller().tenant_id, query.cursor(), only)
        positions = iter(looks.positions(session, found.rows))
        return answer_list(found, lambda job: show_job(job, next(positions)))


@blueprint.get("/<string:id>", responses={200: JobAnswer}, summary="Look at a job")
@needs(Scope.READ)
def get_job(path: JobPath) -> Response:
    with asking() as database:
        job = looks.look(database, caller().tenant_id, path.id)
    return Response(show_job(job, job.position).model_dump_json(), mimetype="application/json")


@blueprint.post("/<string:id>/cancel", responses={200: JobAnswer}, summary="Cancel a job")
@needs(Scope.GENERATE, Scope.TRAIN)
def cancel_job(path: JobPath) -> Response:
    with transaction() as session:
        _require_scope_of(jobs.get(session, caller().tenant_id, path.id))
        job = jobs.cancel(session, caller().tenant_id, path.id)
        answer = _show(session, job)
    if answer.state is JobState.FINALIZING:
        hint(Lane.LIGHT)
    return jsonify(answer.model_dump(mode="json"))


@blueprint.post("/<string:id>/pause", responses={200: JobAnswer}, summary="Pause a job")
@needs(Scope.GENERATE, Scope.TRAIN)
def pause_job(path: JobPath) -> Response:
    with transaction() as session:
        _require_scope_of(jobs.get(session, caller().tenant_id, path.id))
        answer = _show(session, jobs.pause(session, caller().tenant_id, path.id))
    return jsonify(answer.model_dump(mode="json"))


@blueprint.post("/<string:id>/resume", responses={200: JobAnswer}, summary="Resume a paused job")
@needs(Scope.GENERATE, Scope.TRAIN)
def resume_job(path: JobPath) -> Response:
    with transaction() as session:
        _require_scope_of(jobs.get(session, caller().tenant_id, path.id))
        job = jobs.resume(session, caller().tenant_id, path.id)
        answer = _show(session, job)
    hint(Lane(job.lane))
    return jsonify(answer.model_dump(mode="json"))


@blueprint.post("/<string:id>/retry", responses={200: JobAnswer}, summary="Retry what is not done")
@needs(Scope.GENERATE, Scope.TRAIN)
@takes_key
def retry_job(path: JobPath) -> Response:
    tenant_id = caller().tenant_id
    with reading() as session:
        _require_scope_of(jobs.get(session, tenant_id, path.id))

    def retry(session: Session) -> tuple[JobAnswer, Lane]:
        job = retries.retry(session, tenant_id, path.id)
        return _show(session, job), _lane(job)

    return create_once(200, retry)


@blueprint.get(
    "/<string:id>/outputs",
    responses={200: ListAnswer[OutputAnswer]},
    summary="List a job's outputs",
)
@needs(Scope.READ)
def list_job_outputs(path: JobPath, query: JobOutputsQuery) -> Response:
    tenant_id = caller().tenant_id
    with reading() as session:
        jobs.get(session, tenant_id, path.id)
        only = outputs.Filter(
            job_id=path.id,
            media_type=query.media_type,
            label=query.label,
            item_id=query.item_number(),
            custom_id=query.custom_id,
        )
        found = outputs.list_outputs(session, tenant_id, query.cursor(), only)
        return show_outputs(session, found)
