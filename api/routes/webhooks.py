"""Webhooks: addresses that are told when a job has ended."""

from typing import Any, Literal

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

from api.auth import caller, needs
from api.creates import once, takes_key
from api.pagination import ListAnswer, PeriodQuery, WebhookId, answer_list
from api.requests import require_json
from api.times import seconds, seconds_or_none
from shared.db import reading, transaction
from shared.services import idempotency, webhooks
from shared.states import Scope
from shared.tables.webhook import Webhook

blueprint = APIBlueprint(
    "webhooks",
    __name__,
    url_prefix="/api/v1/webhooks",
    abp_tags=[
        Tag(
            name="webhooks",
            description="Addresses of yours that are called when something has happened.",
        )
    ],
    abp_security=[{"key": []}],
)

EventType = Literal[
    "*",
    "job.completed",
    "job.failed",
    "job.cancelled",
    "job.expired",
    "batch.completed",
    "batch.failed",
    "batch.cancelled",
    "batch.expired",
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
]


class WebhookBody(BaseModel):
    """A webhook to register."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "url": "https://hooks.example.com/atelier",
                    "events": ["job.completed", "job.failed"],
                },
            ]
        },
    )

    url: str = Field(description="An https address. Redirects are not followed.")
    events: list[EventType] = Field(
        ["*"],
        max_length=20,
        description="What it is told of; none: only of jobs that name it in `webhook`.",
    )


class WebhookAnswer(BaseModel):
    """A webhook as it stands."""

    id: str
    object: Literal["webhook"] = "webhook"
    url: str
    events: list[str]
    disabled_at: int | None
    disabled_reason: str | None
    old_secret_until: int | None = Field(description="Until then the old secret signs too.")
    created_at: int


class SecretAnswer(WebhookAnswer):
    """A webhook with its secret, which is shown this once."""

    secret: str = Field(description="Verifies signatures, as Standard Webhooks says.")


class WebhookPath(BaseModel):
    """Which webhook."""

    id: str


def show_webhook(webhook: Webhook) -> WebhookAnswer:
    """A webhook as its answer."""
    return WebhookAnswer(**_shown(webhook))


def _with_secret(webhook: Webhook) -> SecretAnswer:
    return SecretAnswer(**_shown(webhook), secret=webhook.secret)


def _shown(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": webhook.events,
        "disabled_at": seconds_or_none(webhook.disabled_at),
        "disabled_reason": webhook.disabled_reason,
        "old_secret_until": seconds_or_none(webhook.old_secret_until),
        "created_at": seconds(webhook.created_at),
    }


@blueprint.post("", responses={201: SecretAnswer}, summary="Register a webhook")
@needs(Scope.ADMIN)
@takes_key
def create_webhook(body: WebhookBody) -> Response:
    require_json()
    tenant_id = caller().tenant_id

    # What is kept under the request's key is the id alone: the secret stays in one place.
    def create() -> idempotency.Answer:
        made = webhooks.create(session, tenant_id, body.url, list(body.events))
        return 201, {"id": made.id}

    with transaction() as session:
        status, told = once(session, create)
        answer = _with_secret(webhooks.get(session, tenant_id, told["id"]))
    response = jsonify(answer.model_dump(mode="json"))
    response.status_code = status
    return response


class WebhooksQuery(PeriodQuery[WebhookId]):
    """Which webhooks."""

    event: EventType | None = Field(None, description="Only those that are told of it.")
    disabled: bool | None = Field(None, description="Only those that are, or only the others.")


@blueprint.get("", responses={200: ListAnswer[WebhookAnswer]}, summary="List webhooks")
@needs(Scope.READ)
def list_webhooks(query: WebhooksQuery) -> Response:
    only = webhooks.Filter(query.event, query.disabled, query.period())
    with reading() as session:
        found = webhooks.list_webhooks(session, caller().tenant_id, query.cursor(), only)
        return answer_list(found, show_webhook)


@blueprint.get("/<string:id>", responses={200: WebhookAnswer}, summary="Look at a webhook")
@needs(Scope.READ)
def get_webhook(path: WebhookPath) -> Response:
    with reading() as session:
        found = webhooks.get(session, caller().tenant_id, path.id)
        return jsonify(show_webhook(found).model_dump(mode="json"))


@blueprint.delete("/<string:id>", responses={204: None}, summary="Delete a webhook")
@needs(Scope.ADMIN)
def delete_webhook(path: WebhookPath) -> Response:
    with transaction() as session:
        session.delete(webhooks.get(session, caller().tenant_id, path.id))
    return Response(status=204)


@blueprint.post("/<string:id>/rotate", responses={200: SecretAnswer}, summary="Give a new secret")
@needs(Scope.ADMIN)
@takes_key
def rotate_secret(path: WebhookPath) -> Response:
    tenant_id = caller().tenant_id

    # As with a new webhook, nothing is kept of the secret under the request's key.
    def rotate() -> idempotency.Answer:
        webhooks.rotate(session, webhooks.get(session, tenant_id, path.id))
        return 200, {"id": path.id}

    with transaction() as session:
        once(session, rotate)
        answer = _with_secret(webhooks.get(session, tenant_id, path.id))
    return jsonify(answer.model_dump(mode="json"))


@blueprint.post("/<string:id>/enable", responses={200: WebhookAnswer}, summary="Call it again")
@needs(Scope.ADMIN)
def enable_webhook(path: WebhookPath) -> Response:
    with transaction() as session:
        webhook = webhooks.get(session, caller().tenant_id, path.id)
        webhooks.enable(webhook)
        return jsonify(show_webhook(webhook).model_dump(mode="json"))
