"""Events: what happened to a job, in order."""

from typing import Any, Literal

from flask import Response
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel

from api.auth import caller, needs
from api.pagination import ListAnswer, ListQuery, answer_list
from api.routes.jobs import JobPath
from api.times import seconds
from shared.db import reading
from shared.errors import NotFound
from shared.services import events, jobs
from shared.states import Scope
from shared.tables.job import Event

blueprint = APIBlueprint(
    "events",
    __name__,
    url_prefix="/api/v1/jobs",
    abp_tags=[Tag(name="jobs")],
    abp_security=[{"key": []}],
)


class EventAnswer(BaseModel):
    """Something that happened to a job."""

    id: str
    object: Literal["event"] = "event"
    job: str
    type: str
    level: str
    message: str
    data: dict[str, Any]
    created_at: int


def show_event(event: Event) -> EventAnswer:
    """An event as its answer."""
    return EventAnswer(
        id=str(event.id),
        job=event.job_id,
        type=event.type,
        level=event.level,
        message=event.message,
        data=event.data,
        created_at=seconds(event.created_at),
    )


@blueprint.get("/<string:id>/events", responses={200: ListAnswer}, summary="List a job's events")
@needs(Scope.READ)
def list_events(path: JobPath, query: ListQuery) -> Response:
    with reading() as session:
        job = jobs.get(session, caller().tenant_id, path.id)
        return answer_list(events.list_events(session, job, query.cursor(event_number)), show_event)


def event_number(public: str) -> int:
    """The number behind an event's public id. Raises NotFound when it is none."""
    if not public.isdecimal() or len(public) > 18:
        raise NotFound(f"No event {public!r}.")
    return int(public)
