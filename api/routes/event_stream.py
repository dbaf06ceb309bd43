"""A job's events as server-sent events, each as it happens, until the job or this process is over.

The ledger is asked again and again, so nothing is lost with Redis; between two looks no database
connection is held.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flask import Response
from pydantic import BaseModel
from sqlalchemy import exc

from api import waiters
from api.errors import detail_of
from api.routes.jobs import show_job
from api.server_sent import ALIVE, respond
from shared.db import reading
from shared.errors import AtelierError
from shared.services import events, jobs
from shared.services.pages import Cursor
from shared.states import FINAL_JOB_STATES, JobState
from shared.tables.job import Event, Job

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
ALIVE_EVERY_S = 15.0
"""How long nothing is written at most: a client that is gone is found out by writing to it."""
_MOST = 100
"""Events that are read at once."""
_RETRY_MS = 2000

Types = Sequence[str] | None
Show = Callable[[Event], BaseModel]


def answer(job: Job, types: Types, after: int | None, show: Show) -> Response:
    """The events of a job after one of them, as they come. Raises TooManyFollowing."""
    return respond(_stream(job, types, after, show), waiters.FOLLOWERS.take())


def _stream(job: Job, types: Types, after: int | None, show: Show) -> Iterator[str]:
    yield f"retry: {_RETRY_MS}\n\n"
    try:
        yield from _until_over(job, types, after, show)
    except AtelierError as error:
        yield _written("error", {"error": detail_of(error)})
    except (exc.OperationalError, exc.TimeoutError) as error:
        # Without an end: the client comes back and goes on where it was.
        log.warning("the stream of job %s breaks off: %s", job.id, error)


def _until_over(job: Job, types: Types, after: int | None, show: Show) -> Iterator[str]:
    last, written_at = after or 0, time.monotonic()
    while True:
        state, found = _look(job, types, last)
        for event in found:
            yield _written(event.type, show(event).model_dump(mode="json"), event.id)
        if found:
            last, written_at = found[-1].id, time.monotonic()
            continue
        if state in FINAL_JOB_STATES:
            yield _written("end", _shown(job))
            return
        if waiters.ENDING.has_begun:
            return  # Without an end: the client comes back to another process.
        if time.monotonic() - written_at > ALIVE_EVERY_S:
            yield ALIVE
            written_at = time.monotonic()
        time.sleep(LOOK_EVERY_S)


def _look(job: Job, types: Types, last: int) -> tuple[JobState, Sequence[Event]]:
    """The state, then the events: what led to a final state is read with it or before it."""
    cursor = Cursor(after=last, limit=_MOST, order="asc")
    with reading() as session:
        state = jobs.state_of(session, job.tenant_id, job.id)
        return state, events.list_events(session, job, cursor, types).rows


def _shown(job: Job) -> dict[str, Any]:
    with reading() as session:
        ended = jobs.get(session, job.tenant_id, job.id)
    return show_job(ended, position=None).model_dump(mode="json")


def _written(type_: str, data: dict[str, Any], id_: int | None = None) -> str:
    head = f"id: {id_}\n" if id_ is not None else ""
    return f"{head}event: {type_}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
