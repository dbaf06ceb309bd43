"""Deliveries of webhook events: which are due, what came of each attempt, and sending one again."""

import json
import random
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from shared.errors import NotFound
from shared.services import webhooks
from shared.services.pages import Cursor, Page, having, page
from shared.states import DeliveryState
from shared.tables.webhook import Delivery, Webhook, WebhookEvent

PAUSES_S = (5, 60, 300, 1800, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600)
"""Between attempts: more than a day in all."""
_GONE = 410
_TAKEN_S = 60
"""A delivery that was taken and not reported is taken again after so long: its process ended."""

# One of each webhook at a time, those first whose turn came first: who answers slowly holds up
# nobody else.
_TAKE = text("""
    UPDATE deliveries SET attempt = attempt + 1, next_at = now() + make_interval(secs => :taken_s)
    FROM webhook_events, webhooks
    WHERE deliveries.id = ANY (ARRAY(
        SELECT due.id FROM webhooks CROSS JOIN LATERAL (
            SELECT id, next_at FROM deliveries
            WHERE webhook_id = webhooks.id AND state = 'pending' AND next_at <= now()
            ORDER BY next_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
        ) due
        WHERE webhooks.disabled_at IS NULL AND webhooks.id <> ALL(cast(:busy AS text[]))
        ORDER BY due.next_at LIMIT :most))
        AND webhook_events.id = deliveries.event_id AND webhooks.id = deliveries.webhook_id
    RETURNING deliveries.id, deliveries.attempt, deliveries.event_id, webhook_events.body,
        webhooks.id AS webhook_id, webhooks.url, webhooks.secret,
        CASE WHEN webhooks.old_secret_until > now() THEN webhooks.old_secret END AS old_secret
""")

_REPORT = text("""
    UPDATE deliveries SET state = cast(:state AS text), log = log || cast(:entry AS jsonb),
        next_at = now() + make_interval(secs => :pause_s),
        delivered_at = CASE WHEN cast(:state AS text) = 'delivered' THEN now() END
    WHERE id = :id AND state = 'pending' AND attempt = :attempt
""")

_AGAIN = text("""
    UPDATE deliveries SET state = 'pending', attempt = 0, next_at = now(), delivered_at = NULL
    WHERE id = :id AND webhook_id = :webhook AND state <> 'pending'
""")


@dataclass(frozen=True)
class Due:
    """A delivery that was taken, with all that sending it needs."""

    id: int
    attempt: int
    event_id: str
    body: str
    webhook_id: str
    url: str
    secret: str
    old_secret: str | None


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt: the receiver's status and answer, or why there was none."""

    status: int | None
    told: str

    @property
    def taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def take(session: Session, most: int, busy: Collection[str] = ()) -> list[Due]:
    """Take deliveries that are due, at most one of each webhook, none of the busy ones."""
    names = {"most": most, "busy": list(busy), "taken_s": _TAKEN_S}
    return [Due(*row) for row in session.execute(_TAKE, names)]


def report(session: Session, due: Due, outcome: Outcome, now: datetime) -> None:
    """Write down what came of an attempt, and when the next one is.

    A receiver that answers 410 is gone: its webhook is disabled.
    """
    last = due.attempt > len(PAUSES_S)
    gone = outcome.status == _GONE
    state = DeliveryState.DELIVERED if outcome.taken else DeliveryState.PENDING
    if gone or (last and not outcome.taken):
        state = DeliveryState.FAILED
    pause_s = 0.0 if state is not DeliveryState.PENDING else _jittered(PAUSES_S[due.attempt - 1])
    entry = {"at": int(now.timestamp()), "status": outcome.status, "told": outcome.told}
    names = {"id": due.id, "attempt": due.attempt, "state": state, "pause_s": pause_s}
    session.execute(_REPORT, names | {"entry": json.dumps([entry])})
    if gone:
        webhooks.disable(session, due.webhook_id, "It answered 410: gone.")


def list_deliveries(
    session: Session, webhook: Webhook, cursor: Cursor, state: DeliveryState | None = None
) -> Page[tuple[Delivery, WebhookEvent]]:
    """A page of a webhook's deliveries, each with its event."""
    mine = select(Delivery).where(Delivery.webhook_id == webhook.id)
    found = page(session, having(mine, {Delivery.state: state}), Delivery.id, cursor)
    ids = {delivery.event_id for delivery in found.rows}
    events = {
        event.id: event
        for event in session.scalars(select(WebhookEvent).where(WebhookEvent.id.in_(ids)))
    }
    return Page([(row, events[row.event_id]) for row in found.rows], found.has_more)


def replay(session: Session, webhook: Webhook, id_: int) -> tuple[Delivery, WebhookEvent]:
    """Send a delivery again, under the id that its event has always had. Raises NotFound."""
    session.execute(_AGAIN, {"id": id_, "webhook": webhook.id})
    mine = Delivery.id == id_, Delivery.webhook_id == webhook.id
    delivery = session.scalar(select(Delivery).where(*mine))
    if delivery is None:
        raise NotFound(f"No delivery {id_!r} of webhook {webhook.id}.")
    return delivery, session.get_one(WebhookEvent, delivery.event_id)


def _jittered(pause_s: float) -> float:
    return pause_s * random.uniform(0.8, 1.2)  # noqa: S311 - jitter needs no secrecy
