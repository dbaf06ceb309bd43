"""The sweeper: finds what was lost - expired leases, lanes without hints - and sets it going again.
Beside it, webhooks are sent.

Started by: python -m worker.sweeper. Any number may run; every pass changes nothing twice.
"""

import logging
import signal
import threading
from collections.abc import Callable

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from shared import metrics
from shared.db import transaction
from shared.errors import Retryable
from shared.log import set_up
from shared.queues import hint, lanes_without_hint
from shared.services import models
from shared.services.ledger import expire, sweep
from shared.settings import settings
from worker.cache import remove
from worker.deliveries import Sender

log = logging.getLogger(__name__)


def recover_leases() -> None:
    """Queue the items of expired leases again."""
    with transaction() as session:
        expired = sweep.expired_leases(session)
    for token in expired:
        with transaction() as session:
            lane = sweep.recover(session, token)
        if lane is not None:
            log.warning("lease %s had run out; its items are queued again", token)
            metrics.CRASHES.labels(lane).inc()
            hint(lane)


def expire_jobs() -> None:
    """End what has not started of jobs whose deadline has passed."""
    with transaction() as session:
        overdue = expire.overdue_jobs(session)
    for job_id in overdue:
        with transaction() as session:
            expire.expire(session, job_id)


def restore_hints() -> None:
    """Hint every lane that has claimable work and no hint in Redis."""
    with transaction() as session:
        claimable = sweep.claimable_lanes(session)
    if claimable:
        for lane in set(claimable) & set(lanes_without_hint()):
            hint(lane)


def forget_old() -> None:
    """Drop what nobody needs any more."""
    with transaction() as session:
        sweep.forget(session)


def tidy_trainings() -> None:
    """Delete the checkpoints of trainings that have succeeded; sheets and models stay."""
    with transaction() as session:
        over = [(job.id, job.tenant_id) for job in models.trainings_to_tidy(session)]
    for job_id, tenant_id in over:
        remove(f"{tenant_id}/jobs/{job_id}/checkpoints")
        remove(f"{tenant_id}/jobs/{job_id}/best")
        with transaction() as session:
            models.forget_checkpoints(session, job_id)


PASSES: tuple[Callable[[], None], ...] = (
    recover_leases,
    expire_jobs,
    restore_hints,
    tidy_trainings,
    forget_old,
)


def sweep_once() -> None:
    """Run every pass; one that fails does not keep the others from running."""
    for run in PASSES:
        try:
            run()
        except (SQLAlchemyError, RedisError, Retryable) as error:
            log.warning("pass %s failed, next time again: %s", run.__name__, error)


def main() -> None:
    set_up()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    metrics.start()
    sending = threading.Thread(target=Sender().run, args=(ended,), name="deliveries")
    sending.start()
    while not ended.is_set():
        sweep_once()
        ended.wait(settings().sweep_seconds)
    sending.join()


if __name__ == "__main__":
    main()
