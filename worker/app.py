"""The worker's Celery application: one task, torch only in the child process, orderly shutdown.

Started by: celery -A worker.app worker -Q <lanes>
"""

import logging
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import signals

from shared.db import engine, transaction
from shared.log import set_up
from shared.queues import make_celery
from shared.services.ledger import leases
from shared.states import Lane
from worker import identity

log = logging.getLogger(__name__)

app = make_celery()
# A process per worker: a thread could not be killed, and torch must not be forked with its threads.
app.conf.update(imports=["worker.tasks"], worker_pool="prefork", worker_concurrency=1)


@signals.setup_logging.connect
def _log(**_: Any) -> None:
    set_up()


@signals.celeryd_after_setup.connect
def _learn_lanes(instance: Any, **_: Any) -> None:
    """In the parent: which lanes it was told to listen to."""
    identity.lanes[:] = [Lane(name) for name in instance.app.amqp.queues.consume_from]


@signals.worker_process_init.connect
def _warm_up(**_: Any) -> None:
    """In the child: import torch now where models will run, so that no item waits for it."""
    from worker.host import host

    if set(identity.lanes) - {Lane.LIGHT}:
        log.info("%s computes on %s", host().name, host().device)
        host().models  # noqa: B018 - made by being asked for
    else:
        host()


@signals.task_failure.connect
def _child_ended(exception: BaseException, **_: Any) -> None:
    """In the parent, when the child was killed: what it held need not wait for its lease's end."""
    if isinstance(exception, WorkerLostError):
        with transaction() as session:
            leases.lose_worker(session, identity.name, str(exception))
        engine().dispose()


@signals.worker_shutting_down.connect
def _shut_down(**_: Any) -> None:
    """In the parent, on SIGTERM."""
    identity.end()
