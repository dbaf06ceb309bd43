"""The sweeper: finds what was lost - expired leases, lanes without hints - and sets it going again.
Beside it, webhooks are sent.

Started by: python -m worker.sweeper. Any number may run; every pass changes nothing twice.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar
from uuid import UUID

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared import metrics
from shared.db import transaction
from shared.errors import Retryable
from shared.log import set_up
from shared.queues import hint, lanes_without_hint
from shared.services import overdrafts, usage
from shared.services.ledger import expire, sweep
from shared.settings import settings
from shared.states import Lane
from worker import upkeep
from worker.deliveries import Sender

log = logging.getLogger(__name__)

_HOUR_S = 3600.0

Changed = TypeVar("Changed")


def recover_leases() -> None:
    """Queue the items of expired leases again."""
    with transaction() as session:
        expired = sweep.expired_leases(session)
    for token in expired:
        lane = _recover(token)
        if lane is not None:
            log.warning("lease %s had run out; its items are queued again", token)
            metrics.CRASHES.labels(lane).inc()
            hint(lane)


def _recover(token: UUID) -> Lane | None:
    """End one lease; another's rows may be locked for long, which must not hold up this one's."""
    try:
        with transaction() as session:
            return sweep.recover(session, token)
    except SQLAlchemyError as error:
        log.warning("lease %s could not be ended, next time again: %s", token, error)
        return None


def expire_jobs() -> None:
    """End what has not started of jobs whose deadline has passed."""
    with transaction() as session:
        overdue = expire.overdue_jobs(session)
    for job_id in overdue:
        _unless_busy(job_id, expire.expire)


def hold_to_budgets() -> None:
    """Stop work whose budget is spent, and let go on what has stopped for that."""
    with transaction() as session:
        found = overdrafts.look(session)
    for job_id in found.to_stop:
        _unless_busy(job_id, overdrafts.stop)
    for job_id in found.to_go_on:
        job = _unless_busy(job_id, overdrafts.go_on)
        if job is not None:
            hint(Lane(job.lane))


def _unless_busy(job_id: str, change: Callable[[Session, str], Changed]) -> Changed | None:
    """Change one job; another's row may be locked for long, which must not hold up this one's."""
    try:
        with transaction() as session:
            return change(session, job_id)
    except SQLAlchemyError as error:
        told = "%s of job %s was not possible, next time again: %s"
        log.warning(told, change.__name__, job_id, error)
        return None


def restore_hints() -> None:
    """Hint every lane that has claimable work and no hint in Redis."""
    with transaction() as session:
        claimable = sweep.claimable_lanes(session)
    if claimable:
        for lane in set(claimable) & set(lanes_without_hint()):
            hint(lane)


def sum_up_usage() -> None:
    """Add what commits have entered to the daily sums."""
    more = True
    while more:
        with transaction() as session:
            more = usage.sum_up(session)


def forget_old() -> None:
    """Drop what nobody needs any more."""
    with transaction() as session:
        sweep.forget(session)


PASSES: tuple[Callable[[], None], ...] = (
    recover_leases,
    expire_jobs,
    hold_to_budgets,
    restore_hints,
    sum_up_usage,
    forget_old,
)

HOURLY: tuple[Callable[[], None], ...] = (
    upkeep.tidy_trainings,
    upkeep.reconcile_objects,
    upkeep.forget_jobs,
    upkeep.forget_events,
    upkeep.forget_files,
    upkeep.tidy_files,
    upkeep.tidy_uploads,
)
"""Passes that walk through the storage."""


def sweep_once(passes: Iterable[Callable[[], None]] = PASSES) -> None:
    """Run every pass; one that fails does not keep the others from running."""
    for run in passes:
        try:
            run()
        except (SQLAlchemyError, RedisError, Retryable) as error:
            log.warning("pass %s failed, next time again: %s", run.__name__, error)
        except Exception:
            # Whatever it is, recovery goes on.
            log.exception("pass %s failed, next time again", run.__name__)


def main() -> None:
    set_up()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    metrics.start()
    sending = threading.Thread(target=Sender().run, args=(ended,), name="deliveries")
    sending.start()
    others = threading.Thread(target=_keep_up, args=(ended,), name="upkeep")
    others.start()
    while not ended.is_set():
        sweep_once()
        ended.wait(settings().sweep_seconds)
    for thread in (sending, others):
        thread.join()


def _keep_up(ended: threading.Event) -> None:
    """Hourly, in a thread of its own: a large storage delays no recovery."""
    while not ended.is_set():
        sweep_once(HOURLY)
        ended.wait(_HOUR_S)


if __name__ == "__main__":
    main()
