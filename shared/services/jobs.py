"""Jobs: finding, cancelling, pausing and resuming them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, bindparam, select, text
from sqlalchemy.orm import Session

from shared.errors import Conflict, NotFound
from shared.services import budgets
from shared.services.ledger import cancel as ledger_cancel
from shared.services.ledger import pause as ledger_pause
from shared.services.pages import ALWAYS, Cursor, Page, Period, having, made_within, page
from shared.states import JobKind, JobState
from shared.tables.dataset import Dataset
from shared.tables.job import Job

# Made once: it is asked for all the time.
_GET = select(Job).where(Job.id == bindparam("id"), Job.tenant_id == bindparam("tenant"))


def get(session: Session, tenant_id: str, id_: str, *, param: str | None = None) -> Job:
    """A tenant's job. Raises NotFound."""
    found = session.scalar(_GET, {"id": id_, "tenant": tenant_id})
    if found is None:
        named = f"{param}: no job {id_!r}" if param else f"No job {id_!r}."
        raise NotFound(named, param=param)
    return found


def state_of(session: Session, tenant_id: str, id_: str) -> JobState:
    """A job's state alone, for who asks again and again. Raises NotFound."""
    state = session.scalar(select(Job.state).where(Job.id == id_, Job.tenant_id == tenant_id))
    if state is None:
        raise NotFound(f"No job {id_!r}.")
    return JobState(state)


@dataclass(frozen=True)
class Filter:
    """Which jobs of a list are wanted."""

    kind: JobKind | None = None
    state: JobState | None = None
    model: str | None = None
    period: Period = ALWAYS
    metadata: str | None = None
    """A name of its metadata, or `name=value`."""
    pairs: tuple[tuple[str, str], ...] = ()
    """Names and values that its metadata has, all of them."""
    dataset_id: str | None = None


def list_jobs(session: Session, tenant_id: str, cursor: Cursor, only: Filter) -> Page[Job]:
    """A page of a tenant's jobs. By metadata it is fast only within a transaction."""
    wanted = {
        Job.kind: only.kind,
        Job.state: only.state,
        Job.model: only.model,
        Job.dataset_id: only.dataset_id,
    }
    chosen = having(select(Job).where(Job.tenant_id == tenant_id), wanted)
    chosen = made_within(chosen, Job, "job", only.period)
    if of_metadata := _of_metadata(only):
        # The index of metadata can be read in no other way; see shared/db.py.
        session.execute(text("SET LOCAL enable_bitmapscan = on"))
        chosen = chosen.where(Job.meta != {}, *of_metadata)
    return page(session, chosen, Job.id, cursor)


def _of_metadata(only: Filter) -> list[ColumnElement[bool]]:
    wanted = [_has(only.metadata)] if only.metadata is not None else []
    return [*wanted, Job.meta.contains(dict(only.pairs))] if only.pairs else wanted


def _has(metadata: str) -> ColumnElement[bool]:
    name, has_value, value = metadata.partition("=")
    return Job.meta.contains({name: value}) if has_value else Job.meta.has_key(name)


def cancel(session: Session, tenant_id: str, id_: str) -> Job:
    """Ask a job to end. Raises Conflict when it has ended already."""
    job = get(session, tenant_id, id_)
    preparations = _hold_preparations(session, job)
    is_new = ledger_cancel.cancel(session, job)
    for preparation in preparations if is_new else ():
        ledger_cancel.cancel(session, preparation)
    # Another may have changed it since it was read.
    session.refresh(job)
    if not is_new and job.state != JobState.CANCELLING:
        raise Conflict(f"Job {id_} is {job.state}; it cannot be cancelled any more.")
    return job


def _hold_preparations(session: Session, job: Job) -> Sequence[Job]:
    """The jobs that prepare the data sets for which a training waits, locked.

    They are locked before the training, as it is where their own ends reach the training.
    """
    if job.kind != JobKind.TRAINING or job.state != JobState.VALIDATING:
        return ()
    preparing = select(Job).join(Dataset, Dataset.job_id == Job.id)
    mine = preparing.where(Dataset.id.in_([job.dataset_id, job.validation_dataset_id]))
    locked = mine.order_by(Job.id).with_for_update(key_share=True, of=Job)
    return session.scalars(locked).all()


def pause(session: Session, tenant_id: str, id_: str) -> Job:
    """Keep a job from running until it is resumed. Raises Conflict when it neither waits nor
    runs.
    """
    job = get(session, tenant_id, id_)
    is_new = ledger_pause.pause(session, job)
    # Another may have changed it since it was read.
    session.refresh(job)
    if not is_new and job.state != JobState.PAUSED:
        raise Conflict(f"Job {id_} is {job.state}; only a queued or running job can be paused.")
    job.over_budget = False  # it goes on when somebody says so
    session.flush()
    return job


def resume(session: Session, tenant_id: str, id_: str) -> Job:
    """Let a paused job run on. Hint its lane after the commit. Raises Conflict or BudgetSpent."""
    job = get(session, tenant_id, id_)
    is_resumed = ledger_pause.resume(session, job)
    if is_resumed:
        budgets.check(session, job)
    session.refresh(job)
    if not is_resumed:
        raise Conflict(f"Job {id_} is {job.state}; only a paused job can be resumed.")
    return job


_RESULTS = text("UPDATE jobs SET trained_tokens = :tokens, output_file_id = :file WHERE id = :job")


def set_results(session: Session, job_id: str, tokens: int | None, file_id: str | None) -> None:
    """Say what a training that has succeeded leaves beside its model: how many tokens it learnt
    from, and the file of its losses.
    """
    session.execute(_RESULTS, {"job": job_id, "tokens": tokens, "file": file_id})


_PROGRESS = text("UPDATE jobs SET progress = :progress WHERE id = :job AND state = 'running'")


def set_progress(session: Session, job_id: str, progress: float) -> None:
    """Say how far a job of one long item is, 0 to 1."""
    session.execute(_PROGRESS, {"job": job_id, "progress": min(1.0, progress)})
