"""Batches, in the shape of the OpenAI API: a file of requests to one endpoint, each answered in a
result file.
"""

import re
from datetime import datetime, timedelta
from typing import Any, Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from api import links
from api.addresses import base_url
from api.auth import caller, needs
from api.creates import create_once, takes_key
from api.openai.files import ExpiresAfter
from api.pagination import JobId, ListAnswer, ListQuery, answer_list
from api.requests import require_json
from api.routes.submissions import Metadata
from api.times import seconds, seconds_or_none
from shared.db import now, reading, transaction
from shared.endpoints import endpoint
from shared.errors import Invalid
from shared.links import PARAM
from shared.queues import hint
from shared.services import batches, jobs, submissions
from shared.states import JobState, Lane, Scope
from shared.statuses import batch_status
from shared.tables.job import Job

blueprint = APIBlueprint(
    "batches",
    __name__,
    url_prefix="/v1/batches",
    abp_tags=[
        Tag(
            name="batches",
            description="A file of requests to one endpoint, each answered in a result file.",
        )
    ],
    abp_security=[{"key": []}],
)

_UNITS_S = {"m": 60, "h": 3600, "d": 86_400}
_LONGEST_S = 7 * 86_400
_LINKS_LIVE = timedelta(days=7)
"""How long after its window the links in a batch's output file hold."""


class BatchBody(BaseModel):
    """A batch to accept."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "input_file_id": "file-01k9z3n6vq0c8t2w5h7m4r1xjb",
                    "endpoint": "/v1/chat/completions",
                    "completion_window": "24h",
                },
            ]
        },
    )

    input_file_id: str = Field(
        description="A JSONL file of the purpose `batch`: 50,000 requests for one model, 200 MB."
    )
    endpoint: str = Field(description="`/v1/chat/completions`, `/v1/completions`, …")
    completion_window: str = Field(
        description="What has not started by then expires: `24h`, or from minutes (`30m`) to `7d`."
    )
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = Field(
        None, description="When its result files are deleted; absent: they are kept."
    )


class BatchFault(BaseModel):
    """What is wrong with a line of the input file."""

    code: str
    line: int | None = Field(description="Null where no line is at fault but the whole.")
    message: str
    param: str | None = Field(description="The field at fault, within its line: `body.model`.")


class BatchFaults(BaseModel):
    """Why an input file was refused."""

    object: Literal["list"] = "list"
    data: list[BatchFault]


class RequestCounts(BaseModel):
    """A batch's requests."""

    total: int
    completed: int
    failed: int


class BatchUsage(BaseModel):
    """Tokens read and written."""

    input_tokens: int
    input_tokens_details: dict[str, int] = {"cached_tokens": 0}
    output_tokens: int
    output_tokens_details: dict[str, int] = {"reasoning_tokens": 0}
    total_tokens: int


class BatchAnswer(BaseModel):
    """A batch as it stands."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: BatchFaults | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage | None
    metadata: dict[str, str] | None


class BatchPath(BaseModel):
    """Which batch."""

    id: str


def _show(job: Job, times: dict[str, datetime]) -> BatchAnswer:
    status = batch_status(job, JobState(job.state))
    ended = seconds_or_none(job.finished_at)

    def when(state: JobState) -> int | None:
        return seconds_or_none(times.get(state))

    return BatchAnswer(
        id=job.id,
        endpoint=str(job.endpoint),
        model=job.model,
        errors=_errors(job),
        input_file_id=str(job.input_file_id),
        completion_window=job.params["completion_window"],
        status=status,
        output_file_id=job.output_file_id,
        error_file_id=job.error_file_id,
        created_at=seconds(job.created_at),
        in_progress_at=when(JobState.QUEUED),
        expires_at=seconds_or_none(job.deadline),
        finalizing_at=None if job.cancelled > 0 else when(JobState.FINALIZING),
        completed_at=ended if status == "completed" else None,
        failed_at=ended if status == "failed" else None,
        expired_at=ended if status == "expired" else None,
        cancelling_at=when(JobState.CANCELLING),
        cancelled_at=ended if status == "cancelled" else None,
        request_counts=RequestCounts(total=job.total, completed=job.done, failed=job.failed),
        usage=_usage(job.usage),
        metadata=job.meta or None,
    )


def _errors(job: Job) -> BatchFaults | None:
    faults = (job.error or {}).get("faults")
    if faults is None:
        return None
    return BatchFaults(data=[_fault(fault) for fault in faults])


def _fault(told: dict[str, Any]) -> BatchFault:
    """A fault, its field named within its line, which is told beside it."""
    line, param = f"line {told['line']}", told["param"] or ""
    within_line = param.removeprefix(line).removeprefix(".")
    return BatchFault.model_validate({**told, "param": within_line or None})


def _usage(told: dict[str, Any] | None) -> BatchUsage | None:
    if told is None:
        return None
    return BatchUsage(**told, total_tokens=told["input_tokens"] + told["output_tokens"])


def _show_one(session: Session, job: Job) -> BatchAnswer:
    return _show(job, batches.times(session, [job.id])[job.id])


@blueprint.post("", responses={200: BatchAnswer}, summary="Submit a batch")
@needs(Scope.GENERATE)
@takes_key
def create_batch(body: BatchBody) -> Response:
    require_json()
    served = endpoint(body.endpoint)
    window = _window(body.completion_window)
    to_outputs = links.issue(base_url(), caller().tenant_id, window + _LINKS_LIVE)
    params: dict[str, Any] = {"completion_window": body.completion_window}
    params[PARAM] = to_outputs.as_json()
    if body.output_expires_after is not None:
        params["results_live_s"] = body.output_expires_after.seconds

    def create(session: Session) -> tuple[BatchAnswer, Lane]:
        common = submissions.Common(
            caller().tenant_id,
            deadline=now(session) + window,
            metadata=body.metadata or {},
            key_id=caller().key_id,
        )
        job = batches.create(session, common, served, body.input_file_id, params)
        session.refresh(job)
        return _show_one(session, job), Lane.LIGHT

    return create_once(200, create)


def _window(told: str) -> timedelta:
    """Raises Invalid."""
    parts = re.fullmatch(r"(\d{1,5})([mhd])", told)
    window_s = int(parts[1]) * _UNITS_S[parts[2]] if parts else 0
    if not 0 < window_s <= _LONGEST_S:
        raise Invalid(
            "completion_window: give `24h`, or minutes (`30m`), hours or days, up to `7d`",
            param="completion_window",
        )
    return timedelta(seconds=window_s)


@blueprint.get("", responses={200: ListAnswer[BatchAnswer]}, summary="List batches")
@needs(Scope.READ)
def list_batches(query: ListQuery[JobId]) -> Response:
    with reading() as session:
        found = batches.list_batches(session, caller().tenant_id, query.cursor())
        times = batches.times(session, [job.id for job in found.rows])
        return answer_list(found, lambda job: _show(job, times[job.id]))


@blueprint.get("/<string:id>", responses={200: BatchAnswer}, summary="Look at a batch")
@needs(Scope.READ)
def get_batch(path: BatchPath) -> Response:
    with reading() as session:
        answer = _show_one(session, batches.get(session, caller().tenant_id, path.id))
    return jsonify(answer.model_dump(mode="json"))


@blueprint.post(
    "/<string:id>/cancel",
    responses={200: BatchAnswer},
    summary="Cancel a batch; what is done stays",
)
@needs(Scope.GENERATE)
def cancel_batch(path: BatchPath) -> Response:
    tenant_id = caller().tenant_id
    with transaction() as session:
        batches.get(session, tenant_id, path.id)
        answer = _show_one(session, jobs.cancel(session, tenant_id, path.id))
    hint(Lane.LIGHT)
    return jsonify(answer.model_dump(mode="json"))
