"""The counters of jobs, which make status as cheap for ten million items as for ten."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.statement import records

_LOCK = text("SELECT id FROM jobs WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE")

# A claim's first items start their job; whether it had started already, `was` says.
MOVED_JOBS = """
    locked_jobs AS (
        SELECT jobs.id, jobs.state FROM jobs JOIN job_changes USING (id) ORDER BY jobs.id
        FOR NO KEY UPDATE OF jobs
    ), moved_jobs AS (
        UPDATE jobs SET
            queued = jobs.queued + change.queued,
            running = jobs.running + change.running,
            done = jobs.done + change.done,
            failed = jobs.failed + change.failed,
            cancelled = jobs.cancelled + change.cancelled,
            expired = jobs.expired + change.expired,
            compute_seconds = jobs.compute_seconds + change.seconds,
            state = CASE WHEN jobs.state = 'queued' AND change.running > 0 THEN 'running'
                ELSE jobs.state END,
            started_at = CASE WHEN change.running > 0 THEN coalesce(jobs.started_at, now())
                ELSE jobs.started_at END
        FROM job_changes AS change, locked_jobs
        WHERE jobs.id = change.id AND locked_jobs.id = change.id
        RETURNING jobs.id, jobs.state, locked_jobs.state AS was, jobs.queued, jobs.running
    )
"""
"""The part of a statement that adds its `job_changes` (id, what is counted, seconds) to jobs."""

_COUNTED = ("queued", "running", "done", "failed", "cancelled", "expired")
_COLUMNS = f"id text, {' bigint, '.join(_COUNTED)} bigint, seconds float8"

JOB_CHANGES = f"job_changes AS ({records('jobs', _COLUMNS)})"
"""The part that reads them from what `parameters` gives."""

_MOVE = text(f"WITH {JOB_CHANGES}, {MOVED_JOBS} SELECT * FROM moved_jobs")


@dataclass
class JobChange:
    """What is to be added to one job's counters, by item state."""

    counts: Counter[str] = field(default_factory=Counter)
    compute_seconds: float = 0.0


def lock_jobs(session: Session, job_ids: Iterable[str]) -> None:
    """Take the row locks of jobs, in the one order."""
    session.execute(_LOCK, {"ids": sorted(job_ids)})


def move_jobs(session: Session, changes: Mapping[str, JobChange]) -> Sequence[Any]:
    """Add to the counters of jobs, of which the first running item starts the job.

    Returns id, state, the state before (`was`), queued and running of each as they are now.
    """
    return session.execute(_MOVE, parameters(changes)).all() if changes else []


def parameters(changes: Mapping[str, JobChange]) -> dict[str, str]:
    """What a statement with JOB_CHANGES takes."""
    rows = [
        {"id": job_id, "seconds": change.compute_seconds}
        | {state: change.counts[state] for state in _COUNTED}
        for job_id, change in changes.items()
    ]
    return {"jobs": json.dumps(rows)}
