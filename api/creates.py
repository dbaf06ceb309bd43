"""Creating things once: a create, its Idempotency-Key and its answer in one transaction."""

from collections.abc import Callable

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


def create_once(status: int, create: Create) -> Response:
    """Answer a POST that creates. The lane is hinted once the transaction has committed."""
    lanes: list[Lane] = []

    def run() -> idempotency.Answer:
        answer, lane = create(session)
        if lane is not None:
            lanes.append(lane)
        return status, answer.model_dump(mode="json")

    key = request.headers.get("Idempotency-Key")
    body = request.get_json(silent=True) if key is not None else None
    hash_ = idempotency.request_hash(request.method, request.path, body)
    with transaction() as session:
        code, answer = idempotency.once(session, caller().tenant_id, key, hash_, run)
    for lane in lanes:
        hint(lane)
    response = jsonify(answer)
    response.status_code = code
    return response
