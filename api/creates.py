"""Creating things once: a create, its Idempotency-Key and its answer in one transaction."""

from collections.abc import Callable
from typing import Any

from flask import Response, jsonify, request
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.auth import caller
from shared.db import transaction
from shared.queues import hint
from shared.services import idempotency
from shared.states import Lane

Create = Callable[[Session], tuple[BaseModel, Lane | None]]
"""Makes something; gives its answer and the lane that has work now."""


def once(
    session: Session, create: Callable[[], idempotency.Answer], asked: Any | None = None
) -> idempotency.Answer:
    """Run `create`, or give the answer that it gave before under this request's Idempotency-Key.

    `asked` is what was asked for, to be compared with another request under the same key; absent:
    the JSON of the body.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return create()
    if asked is None:
        asked = request.get_json(silent=True)
    hash_ = idempotency.request_hash(request.method, request.path, asked)
    return idempotency.once(session, caller().tenant_id, key, hash_, create)


def create_once(status: int, create: Create, asked: Any | None = None) -> Response:
    """Answer a POST that creates; `asked` as in `once`.

    The lane is hinted once the transaction has committed.
    """
    lanes: list[Lane] = []

    def run() -> idempotency.Answer:
        answer, lane = create(session)
        if lane is not None:
            lanes.append(lane)
        return status, answer.model_dump(mode="json")

    with transaction() as session:
        code, answer = once(session, run, asked)
    for lane in lanes:
        hint(lane)
    response = jsonify(answer)
    response.status_code = code
    return response
