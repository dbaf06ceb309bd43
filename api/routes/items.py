"""Items: the units of a job, one by one."""

from typing import Any, Literal

from flask import Response
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, Field

from api.auth import caller, needs
from api.pagination import ItemId, ListAnswer, ListQuery, answer_list
from api.routes.jobs import JobPath
from api.times import seconds_or_none
from shared.db import reading
from shared.ids import item_id, item_number
from shared.services import items, jobs
from shared.states import ItemState, Scope
from shared.tables.job import Item

blueprint = APIBlueprint(
    "items",
    __name__,
    url_prefix="/api/v1/jobs",
    abp_tags=[Tag(name="jobs")],
    abp_security=[{"key": []}],
)


class ItemAnswer(BaseModel):
    """One item as it stands."""

    id: str
    object: Literal["item"] = "item"
    job: str
    seq: int
    custom_id: str | None
    state: ItemState
    params: dict[str, Any]
    attempt: int
    error: dict[str, Any] | None
    started_at: int | None
    finished_at: int | None


def show_item(item: Item) -> ItemAnswer:
    """An item as its answer."""
    return ItemAnswer(
        id=item_id(item.id),
        job=item.job_id,
        seq=item.seq,
        custom_id=item.custom_id,
        state=ItemState(item.state),
        params=item.params,
        attempt=item.attempt,
        error=item.error,
        started_at=seconds_or_none(item.started_at),
        finished_at=seconds_or_none(item.finished_at),
    )


class ItemsQuery(ListQuery[ItemId]):
    """Which items."""

    state: ItemState | None = None
    custom_id: str | None = Field(None, description="The client's own id of it.")


@blueprint.get(
    "/<string:id>/items", responses={200: ListAnswer[ItemAnswer]}, summary="List a job's items"
)
@needs(Scope.READ)
def list_items(path: JobPath, query: ItemsQuery) -> Response:
    with reading() as session:
        job = jobs.get(session, caller().tenant_id, path.id)
        only = items.Filter(query.state, query.custom_id)
        found = items.list_items(session, job, query.cursor(item_number), only)
        return answer_list(found, show_item)
