"""Waiting for a job within a request: by looking at the ledger, with no connection held between
looks.
"""

import logging
import time
from typing import Any

from sqlalchemy.orm import Session

from api import waiters
from api.presence import Connection, has_left
from shared.db import reading, transaction
from shared.errors import Conflict, Retryable
from shared.services import idempotency, jobs
from shared.settings import settings
from shared.states import FINAL_JOB_STATES
from shared.tables.job import Job

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.1


class NotInTime(Retryable):
    """The models are busy, or this server is about to end; the call was cancelled. Try again, or
    submit a job.
    """

    code = "busy"


def wait(job: Job, most_s: float | None = None, client: Connection = None) -> bool:
    """Whether a job ended in time, before its client left and before this process is to end. Looks
    more and more rarely.
    """
    give_up_at = time.monotonic() + (settings().wait_seconds if most_s is None else most_s)
    pause_s = _FIRST_PAUSE_S
    while time.monotonic() < give_up_at and not waiters.ENDING.is_due:
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
        if is_over(job):
            return True
        if has_left(client):
            log.info("the client of job %s left", job.id)
            return False
    return False


def is_over(job: Job) -> bool:
    """Whether a job has ended."""
    with reading() as session:
        return jobs.state_of(session, job.tenant_id, job.id) in FINAL_JOB_STATES


def told_of(job: Job) -> dict[str, Any]:
    """What is kept under a call's key."""
    return {"job": job.id}


def cancel(job: Job, key: str | None) -> bool:
    """Whether it was cancelled; not if it ended just now. Its key may be used again."""
    try:
        with transaction() as session:
            jobs.cancel(session, job.tenant_id, job.id)
            if key is not None:
                idempotency.forget(session, job.tenant_id, key, told_of(job))
    except Conflict:
        return False
    return True


def is_forgotten(session: Session, job: Job, key: str | None) -> bool:
    """Whether the key under which a call was made has been let go, as `cancel` does."""
    return key is not None and not idempotency.tells(session, job.tenant_id, key, told_of(job))
