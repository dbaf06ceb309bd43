"""Webhooks: a tenant's addresses, their secrets, and what is announced to them."""

import base64
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import any_, func, select, text, update
from sqlalchemy.orm import Session
from standardwebhooks.webhooks import Webhook as Signer

from shared.egress import check_url
from shared.errors import Conflict, NotFound
from shared.ids import new_id
from shared.services.names import is_tuned_name
from shared.services.pages import ALWAYS, Cursor, Page, Period, made_within, page
from shared.states import JobKind, JobState
from shared.statuses import batch_status, tuning_status
from shared.tables.job import Job
from shared.tables.webhook import Webhook

EVERY = "*"
OVERLAP_S = 24 * 3600
"""How long the old secret signs too after a rotation."""
_MOST_WEBHOOKS = 50

_TYPE_OF = {
    JobState.SUCCEEDED: "job.completed",
    JobState.PARTIAL: "job.completed",
    JobState.FAILED: "job.failed",
    JobState.CANCELLED: "job.cancelled",
    JobState.EXPIRED: "job.expired",
}

_ANNOUNCE = text("""
    WITH told AS (
        SELECT id FROM webhooks
        WHERE tenant_id = :tenant AND disabled_at IS NULL
            AND (cast(events AS text[]) && cast(:types AS text[]) OR id = :webhook)
        -- Who deletes one at this moment waits, or is waited for.
        FOR KEY SHARE
    ), event AS (
        INSERT INTO webhook_events (id, tenant_id, type, job_id, body)
        SELECT :event, :tenant, :type, :job, :body WHERE EXISTS (SELECT FROM told)
        RETURNING id
    )
    INSERT INTO deliveries (event_id, webhook_id) SELECT event.id, told.id FROM event, told
""")


def create(session: Session, tenant_id: str, url: str, events: Sequence[str]) -> Webhook:
    """A new webhook, its secret in it. Raises Invalid for an address that may not be called."""
    check_url(url, param="url")
    count = select(func.count()).where(Webhook.tenant_id == tenant_id)
    if session.execute(count).scalar_one() >= _MOST_WEBHOOKS:
        raise Conflict(f"There are {_MOST_WEBHOOKS} webhooks already; delete one first.")
    made = Webhook(
        id=new_id("webhook"),
        tenant_id=tenant_id,
        url=url,
        events=sorted(set(events)),
        secret=_new_secret(),
    )
    session.add(made)
    session.flush()
    return made


def get(session: Session, tenant_id: str, id_: str, *, param: str | None = None) -> Webhook:
    """A tenant's webhook. Raises NotFound."""
    found = session.scalar(select(Webhook).where(Webhook.id == id_, Webhook.tenant_id == tenant_id))
    if found is None:
        raise NotFound(f"No webhook {id_!r}; register one with POST /api/v1/webhooks.", param=param)
    return found


@dataclass(frozen=True)
class Filter:
    """Which webhooks of a list are wanted."""

    event: str | None = None
    """A type of event of which it is told."""
    disabled: bool | None = None
    period: Period = ALWAYS


def list_webhooks(
    session: Session, tenant_id: str, cursor: Cursor, only: Filter | None = None
) -> Page[Webhook]:
    """A page of a tenant's webhooks."""
    only = only or Filter()
    chosen = select(Webhook).where(Webhook.tenant_id == tenant_id)
    chosen = made_within(chosen, Webhook, "webhook", only.period)
    if only.event is not None:
        told_of = any_(Webhook.events)
        chosen = chosen.where((told_of == only.event) | (told_of == EVERY))
    if only.disabled is not None:
        chosen = chosen.where(Webhook.disabled_at.is_(None) != only.disabled)
    return page(session, chosen, Webhook.id, cursor)


def rotate(session: Session, webhook: Webhook) -> None:
    """Give it a new secret; the old one signs too for a day, so that receivers can change over."""
    webhook.old_secret = webhook.secret
    webhook.old_secret_until = session.execute(
        select(func.now() + func.make_interval(0, 0, 0, 0, 0, 0, OVERLAP_S))
    ).scalar_one()
    webhook.secret = _new_secret()


def enable(webhook: Webhook) -> None:
    """Call it again, after it was disabled."""
    webhook.disabled_at = webhook.disabled_reason = None
    webhook.enabled_at = func.now()


def disable(session: Session, id_: str, reason: str) -> None:
    """Call it no more until somebody enables it."""
    mine = update(Webhook).where(Webhook.id == id_, Webhook.disabled_at.is_(None))
    session.execute(mine.values(disabled_at=func.now(), disabled_reason=reason))


def announce(session: Session, job: Job, state: JobState) -> None:
    """Tell of a job's end, in the transaction that ends it: one event, a delivery to each receiver.

    The body is thin: who wants more asks for the job.
    """
    type_, id_ = _type_of(job, state), new_id("event")
    body = {
        "id": id_,
        "object": "event",
        "type": type_,
        "created_at": int(time.time()),
        "data": {"id": job.id, "object": "job", "kind": job.kind, "state": state},
    }
    names = {
        "tenant": job.tenant_id,
        "job": job.id,
        "webhook": job.webhook_id,
        "event": id_,
        "type": type_,
        "types": [EVERY, type_],
        "body": json.dumps(body, separators=(",", ":")),
    }
    session.execute(_ANNOUNCE, names)


def _type_of(job: Job, state: JobState) -> str:
    if job.endpoint is not None:
        return f"batch.{batch_status(job, state)}"
    if job.kind == JobKind.TRAINING and is_tuned_name(job.model or ""):
        return f"fine_tuning.job.{tuning_status(state)}"
    return _TYPE_OF[state]


def signed_headers(event_id: str, body: str, secret: str, old_secret: str | None) -> dict[str, str]:
    """The headers of a request, signed now, by both secrets while there are two.

    Source: the Standard Webhooks specification, github.com/standard-webhooks.
    """
    now = datetime.now(UTC)
    keys = [secret] if old_secret is None else [secret, old_secret]
    return {
        "content-type": "application/json",
        "user-agent": "Atelier",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Signer(key).sign(event_id, now, body) for key in keys),
    }


def _new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
