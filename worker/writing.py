"""Writing results to the ledger: patient with the database, obedient to the fence."""

import logging
import time
from collections.abc import Sequence

from sqlalchemy.exc import DBAPIError, OperationalError

from shared import metrics
from shared.db import transaction
from shared.queues import hint
from shared.services.ledger.commit import Committed, Result, commit
from worker.lease import Lease
from worker.work import Conclude

log = logging.getLogger(__name__)

_PAUSE_S = 1.0
_PATIENCE_S = 300.0


class Fenced(Exception):
    """The lease was lost: nothing of this work may be written."""


def write(lease: Lease, results: Sequence[Result], conclude: Conclude | None = None) -> None:
    """Commit results; `conclude` writes what belongs to them in the same transaction.

    While Postgres is away it is tried again, for five minutes. A commit whose answer was lost is
    safe to repeat: if it went through, its lease is gone and the repeat is fenced.
    """
    give_up_at = time.monotonic() + _PATIENCE_S
    while True:
        try:
            committed = _write_once(lease, results, conclude)
        except Fenced:
            log.warning("lease %s was lost; its work is dropped", lease.token)
            metrics.FENCED.inc()
            return
        except DBAPIError as error:
            passing = isinstance(error, OperationalError) or error.connection_invalidated
            if not passing or time.monotonic() > give_up_at:
                raise
            log.warning("the database did not take a commit, trying again: %s", error)
            time.sleep(_PAUSE_S)
        else:
            metrics.COMMITS.inc()
            for lane in committed.hints:
                hint(lane)
            return


def _write_once(lease: Lease, results: Sequence[Result], conclude: Conclude | None) -> Committed:
    with metrics.timed("commit"), transaction() as session:
        committed = commit(session, lease.token, results)
        if not committed.items:
            raise Fenced
        lane = conclude(session) if conclude is not None else None
        if lane is not None:
            committed.hints.add(lane)
        return committed
