"""Jobs with an input file: its lines were good or bad, and its result files are written."""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.services.events import add_event
from shared.services.ledger import settle
from shared.services.ledger.accept import NewItem, add_items
from shared.services.webhooks import announce
from shared.states import JobState, Lane
from shared.tables.job import Job

_START = text("UPDATE jobs SET state = 'queued' WHERE id = :job AND state = 'validating'")
_REFUSE = text("""
    UPDATE jobs SET state = 'failed', error = cast(:error AS jsonb), finished_at = now()
    WHERE id = :job AND state = 'validating'
""")
_FILES = text("""
    UPDATE jobs SET output_file_id = :output, error_file_id = :errors
    WHERE id = :job AND state = 'finalizing'
""")


def start(session: Session, job_id: str, items: Iterable[NewItem]) -> Lane | None:
    """The input file was good: queue its items. None when the job was cancelled meanwhile."""
    if session.execute(_START, {"job": job_id}).rowcount == 0:  # type: ignore[attr-defined]
        return None
    job = session.get_one(Job, job_id)
    add_items(session, job, items)
    add_event(session, job_id, "state", JobState.QUEUED)
    return Lane(job.lane)


def refuse(session: Session, job_id: str, error: dict[str, Any]) -> None:
    """The input file was bad: the job has failed, and nothing of it was run."""
    refused = session.execute(_REFUSE, {"job": job_id, "error": json.dumps(error)})
    if refused.rowcount == 0:  # type: ignore[attr-defined]
        return  # cancelled meanwhile
    add_event(session, job_id, "state", JobState.FAILED, level="error")
    announce(session, session.get_one(Job, job_id), JobState.FAILED)


def finish(
    session: Session, job_id: str, output_file_id: str | None, error_file_id: str | None
) -> None:
    """The result files are written: give the job its final state."""
    names = {"job": job_id, "output": output_file_id, "errors": error_file_id}
    session.execute(_FILES, names)
    settle.end(session, session.get_one(Job, job_id), JobState.FINALIZING)
