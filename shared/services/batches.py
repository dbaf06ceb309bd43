"""Jobs with an input file, batches of the OpenAI API among them: accepted, its lines found good or
bad, its result files written.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from shared.endpoint import Endpoint
from shared.errors import BudgetSpent, Invalid, NotFound
from shared.services import budgets, files, models
from shared.services.admission import admit, warn
from shared.services.events import add_event
from shared.services.items import Fault, InvalidItems
from shared.services.ledger import flows, settle
from shared.services.ledger.accept import NewItem, add_items, add_step
from shared.services.pages import Cursor, Page, page
from shared.services.prices import price_of
from shared.services.quotas import check_room
from shared.services.submissions import Common, new_job
from shared.services.webhooks import announce
from shared.states import EventLevel, JobState, Lane, Step
from shared.tables.file import File
from shared.tables.job import Event, Job
from shared.tables.model import Model, ModelVersion

PURPOSE = "batch"
"""Of the files that may be a batch's input."""
MAX_BYTES = 200 * 1024 * 1024
"""Of a batch's input file."""

REFUSED = "invalid_input_file"
"""Code of the error of a job whose input file was refused."""

_START = text("""
    UPDATE jobs SET state = 'queued', model = coalesce(model, :model), family = :family,
        model_version_id = :version
    WHERE id = :job AND state = 'validating'
""")
_REFUSE = text("""
    UPDATE jobs SET state = 'failed', error = cast(:error AS jsonb), finished_at = now()
    WHERE id = :job AND state = 'validating'
""")
_FILES = text("""
    UPDATE jobs SET output_file_id = :output, error_file_id = :errors,
        usage = cast(:usage AS jsonb)
    WHERE id = :job AND state = 'finalizing'
""")


def create(
    session: Session, common: Common, endpoint: Endpoint, input_file_id: str, params: dict[str, Any]
) -> Job:
    """Accept a file of requests to an endpoint. Hint lane `light` after the commit.

    Which model they are for is known once they are read. Raises NotFound, or Invalid when the file
    is not for that.
    """
    _check_input(files.hold(session, common.tenant_id, input_file_id, param="input_file_id"))
    room = check_room(session, common.tenant_id, 1, common.key_id)
    job = new_job(
        common,
        endpoint.kind,
        Lane(endpoint.modality),
        endpoint=endpoint.path,
        input_file_id=input_file_id,
        params=params,
    )
    job.state = JobState.VALIDATING
    session.add(job)
    add_step(session, job, Step.VALIDATE)
    admit(session, job, room)
    return job


def _check_input(file: File) -> None:
    field = "input_file_id"
    if file.purpose != PURPOSE:
        raise Invalid(
            f"{field}: this file was uploaded with the purpose {file.purpose!r}; upload it with "
            f"{PURPOSE!r}",
            param=field,
        )
    if file.bytes > MAX_BYTES:
        raise Invalid(
            f"{field}: the file has {file.bytes} bytes and a batch takes up to {MAX_BYTES}; split "
            "it, or submit it as a job of /api/v1/jobs",
            param=field,
        )


def get(session: Session, tenant_id: str, id_: str) -> Job:
    """A tenant's batch. Raises NotFound."""
    mine = (Job.id == id_) & (Job.tenant_id == tenant_id) & Job.endpoint.is_not(None)
    found = session.scalar(select(Job).where(mine))
    if found is None:
        raise NotFound(f"No batch {id_!r}.")
    return found


def list_batches(session: Session, tenant_id: str, cursor: Cursor) -> Page[Job]:
    """A page of a tenant's batches."""
    mine = select(Job).where(Job.tenant_id == tenant_id, Job.endpoint.is_not(None))
    return page(session, mine, Job.id, cursor)


def times(session: Session, job_ids: Sequence[str]) -> dict[str, dict[str, datetime]]:
    """When each of some jobs first came into each of its states."""
    found: dict[str, dict[str, datetime]] = {job_id: {} for job_id in job_ids}
    chosen = select(Event.job_id, Event.message, Event.created_at).where(
        Event.job_id.in_(job_ids), Event.type == "state"
    )
    for job_id, state, moment in session.execute(chosen.order_by(Event.id)):
        found[job_id].setdefault(state, moment)
    return found


@dataclass
class Usage:
    """Tokens of a batch's requests."""

    input_tokens: int = 0
    output_tokens: int = 0

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> "Usage":
        """Those of a line of the output file, if it tells any."""
        told = ((line.get("response") or {}).get("body") or {}).get("usage") or {}
        return cls(told.get("prompt_tokens", 0), told.get("completion_tokens", 0))

    def add(self, other: "Usage") -> None:
        """Add another's."""
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens


def start(
    session: Session,
    job_id: str,
    model: Model,
    version: ModelVersion,
    items: Iterable[NewItem],
    cost: float,
) -> Lane | None:
    """The input file was good: queue its items, which cost so much together.

    None when the job was cancelled meanwhile, or was refused because its model was deleted
    meanwhile or it fits into no budget.
    """
    job = session.get_one(Job, job_id)
    if not models.hold(session, version.id):
        gone = Invalid(f"model: {model.name!r} was deleted", param="model")
        refuse(session, job_id, [Fault(gone)])
        return None
    # Made before a budget locks its tenant, as where jobs are accepted.
    flows.flow_of(session, Lane(job.lane), job.tenant_id)
    price = price_of(session, job.tenant_id, job.kind, model.family, version.id)
    try:
        has_budget = budgets.check(session, job, price.compute_seconds * cost if price else 0.0)
    except BudgetSpent as error:
        refuse(session, job_id, [Fault(error)], error.code)
        return None
    names = {"job": job_id, "model": model.name, "family": model.family, "version": version.id}
    if session.execute(_START, names).rowcount == 0:  # type: ignore[attr-defined]
        return None
    session.refresh(job)
    add_items(session, job, items)
    warn(session, job, version, has_budget)
    add_event(session, job_id, "state", JobState.QUEUED)
    return Lane(job.lane)


def refuse(session: Session, job_id: str, faults: Sequence[Fault], code: str = REFUSED) -> None:
    """The input file was bad: the job has failed, and nothing of it was run."""
    whole = InvalidItems(faults)
    error = {
        "code": code,
        "message": whole.message,
        "param": whole.param,
        "faults": [
            {
                "code": fault.error.code,
                "line": fault.line,
                "message": fault.error.message,
                "param": fault.error.param,
            }
            for fault in faults
        ],
    }
    refused = session.execute(_REFUSE, {"job": job_id, "error": json.dumps(error)})
    if refused.rowcount == 0:  # type: ignore[attr-defined]
        return  # cancelled meanwhile
    add_event(session, job_id, "state", JobState.FAILED, level=EventLevel.ERROR)
    announce(session, session.get_one(Job, job_id), JobState.FAILED)


def finish(
    session: Session,
    job_id: str,
    output_file_id: str | None,
    error_file_id: str | None,
    usage: Usage,
) -> None:
    """The result files are written: give the job its final state."""
    names = {"job": job_id, "output": output_file_id, "errors": error_file_id}
    session.execute(_FILES, names | {"usage": json.dumps(vars(usage))})
    settle.end(session, session.get_one(Job, job_id), JobState.FINALIZING)
