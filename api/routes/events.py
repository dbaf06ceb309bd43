"""Events: what happened to a job, in order."""

import re
from typing import Annotated, Any, Literal

from flask import Response, request
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, Field

from api.auth import caller, needs
from api.description import may_stream
from api.pagination import ListAnswer, ListQuery, answer_list
from api.routes import event_stream
from api.routes.jobs import JobPath
from api.times import seconds
from shared.db import reading
from shared.errors import Invalid
from shared.services import events, jobs
from shared.states import EventLevel, Scope
from shared.tables.job import Event

blueprint = APIBlueprint(
    "events",
    __name__,
    url_prefix="/api/v1/jobs",
    abp_tags=[Tag(name="jobs")],
    abp_security=[{"key": []}],
)


_STREAM = "text/event-stream"
_NUMBER = re.compile("[0-9]{1,18}")
_LAST_EVENT = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "For a stream: the event after which it goes on.",
    "schema": {"type": "string", "pattern": f"^{_NUMBER.pattern}$"},
}
EventId = Annotated[str, Field(pattern=f"^{_NUMBER.pattern}$")]


class EventAnswer(BaseModel):
    """Something that happened to a job."""

    id: str
    object: Literal["event"] = "event"
    job: str
    type: str
    level: EventLevel
    message: str
    data: dict[str, Any]
    created_at: int


def show_event(event: Event) -> EventAnswer:
    """An event as its answer."""
    return EventAnswer(
        id=str(event.id),
        job=event.job_id,
        type=event.type,
        level=EventLevel(event.level),
        message=event.message,
        data=event.data,
        created_at=seconds(event.created_at),
    )


class EventPageQuery(ListQuery[EventId]):
    """Which page of events is wanted."""


class EventsQuery(EventPageQuery):
    """Which events."""

    type: str | None = Field(None, description="`state`, `progress`, `metrics`, `warning`, …")


@blueprint.get(
    "/<string:id>/events",
    responses={200: ListAnswer[EventAnswer]},
    summary="List a job's events, or follow them",
)
@may_stream(
    "With `Accept: text/event-stream`: each event as it happens, its `id`, its type as `event` and "
    "itself as `data`; `Last-Event-ID` goes on after one of them. After the job's final state "
    "comes `event: end` with the job as `data`; a stream that ends without it, as when the server "
    "is restarted, is to be taken up again.",
    _LAST_EVENT,
)
@needs(Scope.READ)
def list_events(path: JobPath, query: EventsQuery) -> Response:
    last, types = _last_event(), None if query.type is None else [query.type]
    with reading() as session:
        job = jobs.get(session, caller().tenant_id, path.id)
        if not _wants_stream():
            cursor = query.cursor(int)
            return answer_list(events.list_events(session, job, cursor, types), show_event)
    begin = _after(query)
    after = begin if last is None else last
    return event_stream.answer(job, types, after, show_event)


def _wants_stream() -> bool:
    kinds = ("application/json", _STREAM)
    return request.accept_mimetypes.best_match(kinds) == _STREAM


def _last_event() -> int | None:
    """The last event that the client has, as it says when it comes back. Raises Invalid."""
    last = request.headers.get("Last-Event-ID")
    if last is not None and not _NUMBER.fullmatch(last):
        raise Invalid("Last-Event-ID: not the id of an event", param="Last-Event-ID")
    return None if last is None else int(last)


def _after(query: EventsQuery) -> int | None:
    """After which event a stream begins by its address. Raises Invalid."""
    for name in query.model_fields_set - {"after", "type"}:
        raise Invalid(f"{name}: a stream does not take it; leave it out", param=name)
    return query.cursor(int).after
