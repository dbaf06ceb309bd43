"""What tests of the ledger share: a stand-in model, jobs of it, and the invariants from the
outside.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared import catalog
from shared.db import reading, transaction
from shared.ids import new_id
from shared.services import jobs, models, submissions, tenants
from shared.services.items import Wanted
from shared.services.ledger.claim import Claim, claim
from shared.services.ledger.commit import Done, NewOutput, Released, commit
from shared.services.ledger.invariants import violations
from shared.settings import settings
from shared.states import DatasetState, Lane, Modality
from shared.tables.dataset import Dataset
from shared.tables.job import Job
from shared.tables.model import ModelVersion


def add_stand_in(tenant_id: str, name: str = "stand-in") -> ModelVersion:
    """Register a version of a stand-in model."""
    with transaction() as session:
        new = models.NewVersion("none", {}, {"longest": 60}, {})
        return models.register(session, tenant_id, name, catalog.family("stand_in"), new)


def add_dataset(tenant_id: str, name: str) -> None:
    """A text data set that is ready, though nothing of it is stored."""
    with transaction() as session:
        session.add(
            Dataset(
                id=new_id("dataset"),
                tenant_id=tenant_id,
                name=name,
                version=1,
                modality=Modality.TEXT,
                state=DatasetState.READY,
                files=[],
                options={},
            )
        )


def add_other_tenant(name: str = "other", **values: Any) -> str:
    """The id of one more tenant, who may use a stand-in of its own."""
    with transaction() as session:
        id_ = tenants.add_tenant(session, name, **values).id
    add_stand_in(id_)
    return id_


def submit(
    tenant_id: str, params: Sequence[dict[str, Any]], model: str = "stand-in", **common: Any
) -> Job:
    """Accept a generation job, one item for each of `params`."""
    with transaction() as session:
        wanted = [Wanted(each) for each in params]
        return submissions.create_generation(
            session, submissions.Common(tenant_id, **common), model, wanted
        )


OUTPUT = NewOutput(0, "text/plain", "key", 1, "0" * 64, 1, {}, {}, {})


def take(count: int = 16, lane: Lane = Lane.TEXT, warm: Sequence[str] = ()) -> Claim:
    """Claim as a worker would."""
    with transaction() as session:
        return claim(session, lane, "worker", count, warm)


def finish(found: Claim) -> set[int]:
    """Commit everything of a claim as done. Returns what was not fenced."""
    with transaction() as session:
        results = [Done(item.id, [OUTPUT]) for item in found.items]
        return commit(session, found.token, results).items


def measure(tenant_id: str, items: int, seconds: float, **fields: Any) -> Job:
    """Submit a job and have its items done, each after so many compute seconds."""
    job = submit(tenant_id, [{}] * items, **fields)
    found = take(items)
    with transaction() as session:
        commit(session, found.token, [Done(item.id, [OUTPUT], seconds) for item in found.items])
    return job


def release(found: Claim) -> None:
    """Give everything of a claim back."""
    with transaction() as session:
        commit(session, found.token, [Released(item.id) for item in found.items])


def look(job: Job) -> Job:
    """The job as it stands now."""
    with transaction() as session:
        return jobs.get(session, job.tenant_id, job.id)


def execute(statement: str) -> None:
    """Change the database behind the ledger's back, as time or a fault would."""
    with transaction() as session:
        session.execute(text(statement))


def somebody_waits_for_a_lock() -> bool:
    """Whether a transaction, whatever role it has, waits for another one's lock."""
    with reading() as session:
        waits = text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(session.execute(waits).scalar_one())


def faults(session: Session) -> dict[str, list[Any]]:
    """Every invariant of the ledger that does not hold, with the rows that break it."""
    return violations(session, settings().max_attempts, settings().max_crashes)


def assert_sound() -> None:
    """Every invariant of the ledger holds."""
    with transaction() as session:
        assert faults(session) == {}
