"""Sends webhooks: a loop beside the sweeper's, so that a slow receiver delays no recovery."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Event, Lock

from shared import metrics
from shared.db import transaction
from shared.egress import post
from shared.errors import EgressBlocked, Unreachable
from shared.log import about
from shared.services import deliveries
from shared.services.deliveries import Due, Outcome
from shared.services.webhooks import signed_headers

log = logging.getLogger(__name__)

_AT_ONCE = 16
_LOOK_EVERY_S = 1.0
_ANSWER_WITHIN_S = 20.0


class Sender:
    """Takes due deliveries and sends them, several at once, one of each webhook at a time."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_AT_ONCE, "deliver")
        self._busy: set[str] = set()
        self._lock = Lock()
        self._changed = Event()

    def run(self, ended: Event) -> None:
        """Send until told to end; what is on its way then is still reported."""
        while not ended.is_set():
            try:
                sent = self.send_due()
            except Exception as error:
                log.warning("deliveries could not be looked for: %s", error)
                sent = []
            if not sent:
                self._changed.wait(_LOOK_EVERY_S)
                self._changed.clear()
        self._pool.shutdown(wait=True)

    def send_due(self) -> list[Future[None]]:
        """Set out with what is due; returns a future for each delivery."""
        with self._lock:
            busy = set(self._busy)
        if len(busy) >= _AT_ONCE:
            return []
        with transaction() as session:
            taken = deliveries.take(session, _AT_ONCE - len(busy), busy)
        with self._lock:
            self._busy |= {due.webhook_id for due in taken}
        return [self._pool.submit(self._deliver, due) for due in taken]

    def _deliver(self, due: Due) -> None:
        try:
            with about(event=due.event_id, webhook=due.webhook_id):
                deliver(due)
        except Exception:
            # It is taken again later; the receiver knows the event by its id.
            log.exception("a delivery's outcome could not be written")
        finally:
            with self._lock:
                self._busy.discard(due.webhook_id)
            self._changed.set()


def deliver(due: Due) -> None:
    """Send one delivery and write down what came of it."""
    outcome = _send(due)
    metrics.DELIVERIES.labels(str(outcome.taken).lower()).inc()
    if not outcome.taken:
        log.info("attempt %d was not taken: %s %s", due.attempt, outcome.status, outcome.told)
    with transaction() as session:
        deliveries.report(session, due, outcome, datetime.now(UTC))


def _send(due: Due) -> Outcome:
    headers = signed_headers(due.event_id, due.body, due.secret, due.old_secret)
    try:
        answer = post(due.url, due.body.encode(), headers, timeout_s=_ANSWER_WITHIN_S)
    except (EgressBlocked, Unreachable) as error:
        return Outcome(None, error.message)
    return Outcome(answer.status, answer.body)
