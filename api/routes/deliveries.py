"""Deliveries: the log of what was sent to a webhook, and sending an event again."""

from typing import Annotated, Any, Literal

from flask import Response
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.auth import caller, needs
from api.creates import create_once, takes_key
from api.pagination import ListAnswer, ListQuery, answer_list
from api.routes.webhooks import WebhookPath
from api.times import seconds, seconds_or_none
from shared.db import reading
from shared.errors import NotFound
from shared.services import deliveries, webhooks
from shared.states import DeliveryState, Scope
from shared.tables.webhook import Delivery, WebhookEvent

blueprint = APIBlueprint(
    "deliveries",
    __name__,
    url_prefix="/api/v1/webhooks",
    abp_tags=[Tag(name="webhooks")],
    abp_security=[{"key": []}],
)

_ID_PREFIX = "delivery_"
DeliveryId = Annotated[str, Field(pattern=f"^{_ID_PREFIX}[0-9]{{1,18}}$")]


class DeliveryAnswer(BaseModel):
    """One event on its way to a webhook."""

    id: str
    object: Literal["delivery"] = "delivery"
    event: str
    type: str
    state: DeliveryState
    attempts: int
    next_at: int | None
    log: list[dict[str, Any]] = Field(description="Each attempt's time, status and answer.")
    created_at: int
    delivered_at: int | None


class DeliveryPath(BaseModel):
    """Which delivery of a webhook."""

    id: str
    delivery: str


def show_delivery(row: tuple[Delivery, WebhookEvent]) -> DeliveryAnswer:
    """A delivery as its answer."""
    delivery, event = row
    waits = delivery.state == DeliveryState.PENDING
    return DeliveryAnswer(
        id=f"{_ID_PREFIX}{delivery.id}",
        event=event.id,
        type=event.type,
        state=DeliveryState(delivery.state),
        attempts=delivery.attempt,
        next_at=seconds(delivery.next_at) if waits else None,
        log=delivery.log,
        created_at=seconds(delivery.created_at),
        delivered_at=seconds_or_none(delivery.delivered_at),
    )


class DeliveriesQuery(ListQuery[DeliveryId]):
    """Which deliveries."""

    state: DeliveryState | None = None


@blueprint.get(
    "/<string:id>/deliveries",
    responses={200: ListAnswer[DeliveryAnswer]},
    summary="List what was sent to it",
)
@needs(Scope.READ)
def list_deliveries(path: WebhookPath, query: DeliveriesQuery) -> Response:
    with reading() as session:
        webhook = webhooks.get(session, caller().tenant_id, path.id)
        cursor = query.cursor(_number)
        found = deliveries.list_deliveries(session, webhook, cursor, query.state)
        return answer_list(found, show_delivery)


@blueprint.post(
    "/<string:id>/deliveries/<string:delivery>/replay",
    responses={200: DeliveryAnswer},
    summary="Send an event again",
)
@needs(Scope.ADMIN)
@takes_key
def replay_delivery(path: DeliveryPath) -> Response:
    def replay(session: Session) -> tuple[DeliveryAnswer, None]:
        webhook = webhooks.get(session, caller().tenant_id, path.id)
        return show_delivery(deliveries.replay(session, webhook, _number(path.delivery))), None

    return create_once(200, replay)


def _number(public: str) -> int:
    digits = public.removeprefix(_ID_PREFIX)
    if digits == public or not digits.isdecimal() or len(digits) > 18:
        raise NotFound(f"No delivery {public!r}.")
    return int(digits)
