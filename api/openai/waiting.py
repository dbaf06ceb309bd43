"""One-off calls: a job of one item, waited for.

The ledger stays the truth: nothing waits in memory alone.
"""

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from flask import Response, jsonify, request
from sqlalchemy.orm import Session

from api.auth import caller
from api.creates import once
from api.routes.jobs import show_job
from shared.db import reading, transaction
from shared.errors import AtelierError, Conflict, Invalid, Retryable
from shared.queues import hint
from shared.services import idempotency, items, jobs, models, outputs
from shared.settings import settings
from shared.states import FINAL_JOB_STATES, JobState, Lane, Modality
from shared.tables.job import Item, Job
from shared.tables.model import ModelVersion
from shared.tables.output import Output

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.1
_ASYNC = "respond-async"
_ITEM = re.compile(r"items\[\d+\]\.params\.")

Made = list[tuple[Item, Output]]
Check = Callable[[ModelVersion], None]


class NotInTime(Retryable):
    """The models are busy; the call was cancelled. Try again, or submit a job."""

    code = "busy"


class ItemFailed(AtelierError):
    """The item failed."""

    code = "generation_failed"


def run(
    model: str, modality: Modality, params: Sequence[dict[str, Any]], check: Check | None = None
) -> tuple[Job, Made] | Response:
    """Run items of a model and wait for their outputs. `check` may refuse the model's version.

    A client that sends `Prefer: respond-async` gets the job (202) when the wait is over; any other
    gets 503, and the job is cancelled, so that its retry makes no second one.
    """
    job = _submit(model, modality, params, check)
    if _wait(job):
        return _result(job)
    if _ASYNC in request.headers.get("Prefer", ""):
        with reading() as session:
            found = jobs.get(session, job.tenant_id, job.id)
            answer = jsonify(show_job(session, found).model_dump(mode="json"))
        answer.status_code = 202
        return answer
    if _cancel(job):
        raise NotInTime
    return _result(job)


def _submit(
    model: str, modality: Modality, params: Sequence[dict[str, Any]], check: Check | None
) -> Job:
    """The job of this call; under an Idempotency-Key that was used before, the job of then."""
    common = jobs.Common(caller().tenant_id, priority=10)

    def create() -> idempotency.Answer:
        return 200, {"job": _create(session, common, model, modality, params, check).id}

    with transaction() as session:
        _, told = once(session, create)
        job = jobs.get(session, common.tenant_id, told["job"])
    hint(Lane(job.lane))
    return job


def _create(
    session: Session,
    common: jobs.Common,
    model: str,
    modality: Modality,
    params: Sequence[dict[str, Any]],
    check: Check | None,
) -> Job:
    found, version = models.resolve(session, common.tenant_id, model)
    if found.modality != modality:
        raise Invalid(f"model: {model!r} makes {found.modality}, not {modality}", param="model")
    if check is not None:
        check(version)
    try:
        wanted = [jobs.Wanted(each) for each in params]
        return jobs.create_generation(session, common, model, wanted)
    except Invalid as error:
        # Callers of this shape know no items: name the field as they sent it.
        message = _ITEM.sub("", error.message)
        raise type(error)(message, param=_ITEM.sub("", error.param or "") or None) from None


def _wait(job: Job) -> bool:
    """Whether the job ended in time.

    Looks more and more rarely; holds no connection between looks.
    """
    give_up_at = time.monotonic() + settings().wait_seconds
    pause_s = _FIRST_PAUSE_S
    while time.monotonic() < give_up_at:
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
        with reading() as session:
            if jobs.get(session, job.tenant_id, job.id).state in FINAL_JOB_STATES:
                return True
    return False


def _result(job: Job) -> tuple[Job, Made]:
    with reading() as session:
        ended = jobs.get(session, job.tenant_id, job.id)
        made = outputs.of_job(session, ended)
        undone = next(items.undone_items(session, ended), None)
    if undone is None:
        return ended, made
    if ended.state == JobState.CANCELLED:
        raise NotInTime  # by another request under the same key, whose time was up
    error = undone.error or {}
    failed = ItemFailed(
        error.get("message", f"The item was {undone.state}."), param=error.get("param")
    )
    if error.get("code") not in {None, "internal", "crashed"}:
        failed.status, failed.code = 400, error["code"]
    raise failed


def _cancel(job: Job) -> bool:
    """Whether it was cancelled; not if it ended just now. Its key may be used again."""
    key = request.headers.get("Idempotency-Key")
    try:
        with transaction() as session:
            jobs.cancel(session, job.tenant_id, job.id)
            idempotency.forget(session, job.tenant_id, key)
    except Conflict:
        return False
    return True
