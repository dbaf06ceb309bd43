"""Calls of an endpoint: a job of a few items, waited for, its outputs the answer.

The ledger stays the truth: nothing waits in memory alone.
"""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from flask import Response, jsonify, request
from sqlalchemy.orm import Session

from api import links, waiters
from api.addresses import base_url
from api.auth import caller
from api.creates import key_of_request, once
from api.openai import streams
from api.openai.waiting import NotInTime, cancel, is_forgotten, told_of, wait
from api.presence import connection
from api.requests import require_json
from api.routes.jobs import show_job
from shared.db import reading, transaction
from shared.endpoint import Endpoint, EndpointBody, Made
from shared.endpoints.sampling import SamplingBody
from shared.errors import Conflict, Invalid
from shared.links import Links
from shared.queues import hint
from shared.services import idempotency, items, jobs, looks, models, outputs, submissions
from shared.services.items import Wanted
from shared.states import JobState, Lane
from shared.storage import read
from shared.tables.job import Job

_PRIORITY = 10
_ASYNC = "respond-async"
_ITEM = re.compile(r"items\[\d+\]\.params(\.|: |$)")


class Cancelled(Conflict):
    """The call's job was cancelled, by another client or in the dashboard. Under the same
    Idempotency-Key it stays cancelled; use a new key, or none, for a new call.
    """

    code = "cancelled"


def call(endpoint: Endpoint, body: EndpointBody) -> Response:
    """Answer a call of an endpoint, at once or as a stream.

    A client that sends `Prefer: respond-async` gets the job (202) when the wait is over; any other
    gets 503, and the job is cancelled, so that its retry makes no second one. The wait is over
    when the client leaves, too.
    """
    require_json()
    to_outputs, key = links.issue(base_url(), caller().tenant_id), key_of_request()

    def made(job: Job) -> Made:
        return _made(job, body, to_outputs, key)

    if isinstance(body, SamplingBody) and body.stream:
        return streams.answer(endpoint, body, lambda: _submit(endpoint, body), made)
    with waiters.CALLS.take():
        job = _submit(endpoint, body)
        if wait(job, client=connection()):
            return jsonify(endpoint.answer(made(job)))
    if _ASYNC in request.headers.get("Prefer", ""):
        return _later(job)
    if cancel(job, key):
        raise NotInTime
    return jsonify(endpoint.answer(made(job)))


def _submit(endpoint: Endpoint, body: EndpointBody) -> Job:
    """The job of this call; under an Idempotency-Key that was used before, the job of then."""
    common = submissions.Common(caller().tenant_id, priority=_PRIORITY, key_id=caller().key_id)

    def create() -> idempotency.Answer:
        return 200, told_of(_create(session, common, endpoint, body))

    with transaction() as session:
        _, told = once(session, create)
        job = jobs.get(session, common.tenant_id, told["job"])
    hint(Lane(job.lane))
    return job


def _create(
    session: Session, common: submissions.Common, endpoint: Endpoint, body: EndpointBody
) -> Job:
    model, version = models.resolve(session, common.tenant_id, body.model, hold=True)
    if model.modality != endpoint.modality:
        raise Invalid(
            f"model: {body.model!r} makes {model.modality}, not {endpoint.modality}", param="model"
        )
    form = {"stream": True} if getattr(body, "stream", None) else None
    wanted = [
        Wanted(params, form=form, names=body.names(seq))
        for seq, params in enumerate(body.params(version.config))
    ]
    try:
        return submissions.create_generation(
            session, common, body.model, wanted, endpoint.kind, (model, version)
        )
    except Invalid as error:
        # Callers of this shape know no items: name the field as they sent it.
        message = _ITEM.sub("", error.message)
        raise Invalid(message, param=_ITEM.sub("", error.param or "") or None) from None


def _later(job: Job) -> Response:
    """The job itself, for a client that will ask again."""
    with reading() as session:
        found = jobs.get(session, job.tenant_id, job.id)
        shown = show_job(found, looks.position(session, found))
    answer = jsonify(shown.model_dump(mode="json"))
    answer.status_code = 202
    return answer


def _made(job: Job, body: EndpointBody, to_outputs: Links, key: str | None) -> Made:
    """What an ended job made. Raises ItemFailed, Cancelled or NotInTime when it made not all."""
    with reading() as session:
        ended = jobs.get(session, job.tenant_id, job.id)
        made = outputs.of_job(session, ended)
        undone = next(items.undone_items(session, ended), None)
        if undone is not None and ended.state == JobState.CANCELLED:
            # By an equal request whose time was up, which forgot the key; or by somebody else.
            raise NotInTime if is_forgotten(session, ended, key) else Cancelled
    if undone is not None:
        raise items.failure_of(undone)
    return Made(
        id=ended.id,
        created=int(ended.created_at.timestamp()),
        form=body.form(),
        items=_by_item(made),
        content=lambda output: read(output.key),
        url=lambda output: to_outputs.to(output.id),
    )


def _by_item(made: Sequence[tuple[Any, Any]]) -> list[tuple[Any, list[Any]]]:
    grouped = groupby(made, key=lambda pair: pair[0])
    return [(item, [output for _, output in pairs]) for item, pairs in grouped]
