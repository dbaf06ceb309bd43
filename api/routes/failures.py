"""Failures: why items went wrong, and repeating those that failed for one reason."""

from typing import Annotated, Any, Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

from api.auth import caller, needs
from api.creates import once, takes_key
from api.pagination import ItemId, ListAnswer, ListQuery, PeriodQuery, answer_list
from api.requests import require_json
from api.times import seconds
from shared.db import reading, transaction
from shared.errors import Invalid
from shared.ids import item_id, item_number
from shared.queues import hint
from shared.services import failures, idempotency, retries
from shared.states import FailureKind, Lane, Scope
from shared.tables.failure import Failure

blueprint = APIBlueprint(
    "failures",
    __name__,
    url_prefix="/api/v1/failures",
    abp_tags=[
        Tag(
            name="failures",
            description="Why attempts went wrong, and trying again what failed for one reason.",
        )
    ],
    abp_security=[{"key": []}],
)

_ID_PREFIX = "failure_"
FailureId = Annotated[str, Field(pattern=f"^{_ID_PREFIX}[0-9]{{1,18}}$")]


class FailureAnswer(BaseModel):
    """One attempt of an item that went wrong."""

    id: str
    object: Literal["failure"] = "failure"
    job: str
    item: str
    attempt: int
    kind: FailureKind
    ended: bool = Field(description="The item has failed with it and was not retried since.")
    reason: str = Field(description="What equal failures have in common.")
    error: dict[str, Any]
    worker: str
    log: str = Field(description="The last lines that the worker logged about it.")
    created_at: int


class ReasonAnswer(BaseModel):
    """Items that failed for one reason."""

    id: str
    object: Literal["failure_reason"] = "failure_reason"
    items: int
    jobs: int
    example: str
    more: bool = Field(
        description=f"The latest {failures.MOST_COUNTED:,} were counted, and there are more."
    )


class FailuresQuery(PeriodQuery[FailureId]):
    """Which failures."""

    job: str | None = None
    item: ItemId | None = None
    reason: str | None = None
    ended: bool | None = Field(None, description="Only what ended an item, or only what did not.")
    kind: FailureKind | None = None


class ReasonsQuery(ListQuery):
    """Which reasons, of a hundred at most."""

    order: Literal["asc", "desc"] = Field("desc", description="By how many items failed with it.")


class RetryBody(BaseModel):
    """Which failed items to retry: all that match everything that is given."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"reason": "crashed"},
            ]
        },
    )

    reason: str | None = Field(None, min_length=1)
    job: str | None = None
    item: ItemId | None = None


class RetryAnswer(BaseModel):
    """What was queued again."""

    object: Literal["retry"] = "retry"
    items: int
    jobs: list[str]
    more: bool = Field(
        description=f"More match than one retry takes, {retries.MOST_AT_ONCE:,}: ask again for the "
        "next."
    )


def show_failure(failure: Failure) -> FailureAnswer:
    """A failure as its answer."""
    return FailureAnswer(
        id=f"{_ID_PREFIX}{failure.id}",
        job=failure.job_id,
        item=item_id(failure.item_id),
        attempt=failure.attempt,
        kind=FailureKind(failure.kind),
        ended=failure.ended,
        reason=failure.reason,
        error=failure.error,
        worker=failure.worker,
        log=failure.log,
        created_at=seconds(failure.created_at),
    )


def show_reason(reason: failures.Reason) -> ReasonAnswer:
    """A reason as its answer."""
    return ReasonAnswer(
        id=reason.reason,
        items=reason.items,
        jobs=reason.jobs,
        example=reason.example,
        more=reason.more,
    )


@blueprint.get(
    "", responses={200: ListAnswer[FailureAnswer]}, summary="List attempts that went wrong"
)
@needs(Scope.READ)
def list_failures(query: FailuresQuery) -> Response:
    only = failures.Filter(
        query.job, _item(query.item), query.reason, query.ended, query.kind, query.period()
    )
    with reading() as session:
        cursor = query.cursor(_number)
        return answer_list(
            failures.list_failures(session, caller().tenant_id, cursor, only), show_failure
        )


@blueprint.get(
    "/reasons", responses={200: ListAnswer[ReasonAnswer]}, summary="Why items have failed"
)
@needs(Scope.READ)
def list_reasons(query: ReasonsQuery) -> Response:
    with reading() as session:
        found = failures.list_reasons(session, caller().tenant_id, query.cursor())
    return answer_list(found, show_reason)


@blueprint.post("/retry", responses={200: RetryAnswer}, summary="Retry failed items")
@needs(Scope.GENERATE)
@takes_key
def retry_failures(body: RetryBody) -> Response:
    require_json()
    if body.reason is None and body.job is None and body.item is None:
        raise Invalid("reason: give a reason, a job or an item", param="reason")
    only = failures.Filter(body.job, _item(body.item), body.reason)
    lanes: set[Lane] = set()

    def retry() -> idempotency.Answer:
        retried = retries.retry_failed(session, caller().tenant_id, only)
        lanes.update(Lane(job.lane) for job in retried.jobs)
        again = [job.id for job in retried.jobs]
        answer = RetryAnswer(items=retried.items, jobs=again, more=retried.more)
        return 200, answer.model_dump(mode="json")

    with transaction() as session:
        _, answer = once(session, retry)
    for lane in lanes:
        hint(lane)
    return jsonify(answer)


def _item(public: str | None) -> int | None:
    return None if public is None else item_number(public)


def _number(public: str) -> int:
    return int(public.removeprefix(_ID_PREFIX))
