"""Creating things once: a create, its Idempotency-Key and its answer in one transaction."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from flask import Response, jsonify, request
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.auth import caller
from shared.db import transaction
from shared.errors import AtelierError
from shared.queues import hint
from shared.services import idempotency
from shared.states import Lane
from shared.storage import storage

_TRIES = "x-stainless-retry-count"
"""The official SDK's count of its tries, which it sends with every request, and without a key."""

View = TypeVar("View", bound=Callable[..., Any])
Create = Callable[[Session], tuple[BaseModel, Lane | None]]
"""Makes something; gives its answer and the lane that has work now."""


def takes_key(view: View) -> View:
    """Marks a route that answers an Idempotency-Key, so that its description says so."""
    view.takes_idempotency_key = True  # type: ignore[attr-defined]
    return view


def takes_no_key(why: str) -> Callable[[View], View]:
    """Marks a route that creates and yet refuses an Idempotency-Key, with the reason."""

    def mark(view: View) -> View:
        view.takes_no_idempotency_key = why  # type: ignore[attr-defined]
        return view

    return mark


def once(
    session: Session, create: Callable[[], idempotency.Answer], asked: Any | None = None
) -> idempotency.Answer:
    """Run `create`, or give the answer that it gave before under this request's Idempotency-Key.

    `asked` is what was asked for, to be compared with another request under the same key; absent:
    the JSON of the body.
    """
    tenant_id = caller().tenant_id
    key = request.headers.get("Idempotency-Key")
    if key is not None:
        return idempotency.once(session, tenant_id, key, _hash(asked), create)
    if (tries := request.headers.get(_TRIES)) is not None:
        key = _keyless(_hash(asked))
        return idempotency.again(session, tenant_id, key, create, is_retry=tries != "0")
    return create()


@contextmanager
def held_key() -> Iterator[None]:
    """Do what has the same answer whenever it is asked for again, and takes too long for a
    transaction: another request under this one's Idempotency-Key is refused meanwhile and after
    it. When this one is refused, the key is free again.
    """
    tenant_id, key = caller().tenant_id, request.headers.get("Idempotency-Key")
    held = {"path": request.path}
    with transaction() as session:
        idempotency.once(session, tenant_id, key, _hash(None), lambda: (200, held))
    try:
        yield
    except AtelierError:
        if key is not None:
            with transaction() as session:
                idempotency.forget(session, tenant_id, key, held)
        raise


def key_of_request() -> str | None:
    """The key under which the answer to this request's JSON is kept, if it is."""
    if _TRIES in request.headers and "Idempotency-Key" not in request.headers:
        return _keyless(_hash(None))
    return request.headers.get("Idempotency-Key")


def _keyless(hash_: str) -> str:
    return f"keyless:{caller().key_id}:{hash_}"


def _hash(asked: Any | None) -> str:
    body = request.get_json(silent=True) if asked is None else asked
    return idempotency.request_hash(request.method, request.path, body)


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


def create_stored(id_: str, key: str, create: Create, asked: Any) -> Response:
    """Answer a POST whose bytes are stored already, under `key`, and now get the row `id_`.

    They are deleted where it is certain that no row names them: the request was refused, or an
    earlier one under the same Idempotency-Key was answered. Upkeep finds what is left.
    """
    try:
        response = create_once(200, create, asked)
    except AtelierError:
        storage().delete(key)
        raise
    if response.get_json()["id"] != id_:
        storage().delete(key)
    return response
