"""Trainings that wait for their data sets: queued when these are ready, ended when one never will
be.
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.services.events import add_event
from shared.services.ledger.accept import NewItem, add_items
from shared.services.webhooks import announce
from shared.states import EventLevel, JobState, Lane
from shared.tables.dataset import Dataset
from shared.tables.job import Job

_SHOWN = 10

_WAITS = (
    "tenant_id = :tenant AND kind = 'training' AND state = 'validating' "
    "AND :dataset IN (dataset_id, validation_dataset_id)"
)

_HOLD = text(f"SELECT id FROM jobs WHERE {_WAITS} ORDER BY id FOR NO KEY UPDATE")

# A statement of its own: whoever waited for the lock sees that the other data set is ready by now.
_QUEUE = text(f"""
    UPDATE jobs SET state = 'queued'
    WHERE {_WAITS} AND NOT EXISTS (
        SELECT FROM datasets WHERE datasets.state <> 'ready'
            AND datasets.id IN (jobs.dataset_id, jobs.validation_dataset_id))
    RETURNING id
""")

_END = text(f"""
    UPDATE jobs SET state = :state, finished_at = now(),
        error = (SELECT error FROM jobs WHERE id = :preparation) || jsonb_build_object('param',
            CASE WHEN dataset_id = :dataset THEN 'training_file' ELSE 'validation_file' END)
    WHERE {_WAITS}
    RETURNING id
""")


def start_waiting(session: Session, dataset: Dataset) -> Lane | None:
    """A data set is ready: queue the trainings that waited for it alone. Returns the lane to
    hint.
    """
    names = {"tenant": dataset.tenant_id, "dataset": dataset.id}
    session.execute(_HOLD, names)
    started = session.execute(_QUEUE, names).scalars().all()
    for job_id in started:
        job = session.get_one(Job, job_id, populate_existing=True)
        add_items(session, job, [NewItem(batch_key=job_id)])
        _tell_of_rejected(session, job)
        add_event(session, job_id, "state", JobState.QUEUED)
    return Lane.TRAINING if started else None


def _tell_of_rejected(session: Session, job: Job) -> None:
    """Whoever gave a file and never sees the data set's report hears of what it does not hold."""
    files = {"": job.dataset_id, "validation_file: ": job.validation_dataset_id}
    for where, dataset_id in files.items():
        dataset = session.get(Dataset, dataset_id) if dataset_id is not None else None
        report = (dataset.report if dataset is not None else None) or {}
        if not report.get("rejected_total"):
            continue
        first = report["rejected"][0]
        cannot = f"{report['rejected_total']} examples cannot be used"
        told = f"{where}{cannot}; the first is {first['where']}: {first['reason']}"
        data = {"rejected": report["rejected"][:_SHOWN]}
        add_event(session, job.id, "warning", told, data, level=EventLevel.WARN)


def end_waiting(session: Session, preparation: Job, state: JobState) -> None:
    """A data set's preparation has ended without one: whoever waits for it ends, too."""
    ended = JobState.CANCELLED if state is JobState.CANCELLED else JobState.FAILED
    names = {"tenant": preparation.tenant_id, "dataset": preparation.dataset_id}
    names |= {"preparation": preparation.id, "state": ended}
    level = EventLevel.ERROR if ended is JobState.FAILED else EventLevel.INFO
    for job_id in session.execute(_END, names).scalars().all():
        add_event(session, job_id, "state", ended, level=level)
        announce(session, session.get_one(Job, job_id, populate_existing=True), ended)
