"""Steps of a job with an input file: its lines become items, and later its result files are
written.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import fields
from operator import attrgetter

from sqlalchemy.orm import Session

from shared.db import reading, transaction
from shared.endpoint import Endpoint
from shared.endpoints import endpoint
from shared.errors import Invalid
from shared.services import batches, files, jobs, models
from shared.services.items import Fault, InvalidItems, check_items, within
from shared.services.ledger.accept import NewItem
from shared.services.ledger.claim import Claimed
from shared.services.lines import (
    Read,
    Requests,
    first_model,
    lines_of,
    native,
    no_lines,
    wanted,
)
from shared.services.quotas import check_room
from shared.states import Lane, Stage
from shared.storage import storage
from shared.tables.file import File
from shared.tables.job import Job
from shared.tables.model import Model, ModelVersion
from worker.lease import Lease
from worker.results import error_lines, output_lines
from worker.work import Conclude

MAX_LINES = 1_000_000
"""Of a native input file."""
MAX_REQUESTS = 50_000
"""Of a batch of the OpenAI API."""
_FILE_PURPOSE = "batch_output"
# `astuple` would copy each value deeply, which for a million lines takes seconds.
_VALUES = attrgetter(*(field.name for field in fields(NewItem)))


def validate(item: Claimed, lease: Lease) -> Conclude:
    """Turn the lines of a job's input file into items, or refuse the file naming bad lines."""
    lease.enter(Stage.LOAD)
    with transaction() as session:
        job = jobs.get(session, item.tenant_id, item.job_id)
        field = "input_file" if job.endpoint is None else "input_file_id"
        file = files.held(session, item.tenant_id, str(job.input_file_id), param=field)
    checked = _Checked()
    try:
        model, version, read = _reader(job, file, lease)
        most = MAX_LINES if job.endpoint is None else MAX_REQUESTS
        with storage().open(file.key) as source:
            lines = wanted(lines_of(source, lease.check), most, read, field)
            for new in check_items(lines, job.kind, model, version):
                checked.add(new)
        if checked.count == 0:
            raise no_lines(field)
        with reading() as session:
            # Over a limit, the file waits until there is room.
            check_room(session, item.tenant_id, checked.count)
    except InvalidItems as error:
        faults = error.faults
        return lambda session: batches.refuse(session, item.job_id, faults)
    except Invalid as error:
        fault = Fault(Invalid(error.message, param=error.param))
        return lambda session: batches.refuse(session, item.job_id, [fault])

    def conclude(session: Session) -> Lane | None:
        return batches.start(session, item.job_id, model, version, checked, checked.cost)

    return conclude


def _reader(job: Job, file: File, lease: Lease) -> tuple[Model, ModelVersion, Read]:
    """The model of a job's lines, and how they are read. Raises Invalid."""
    if job.endpoint is None:
        with reading() as session:
            model, version = models.version_by_id(session, str(job.model_version_id))
        return model, version, native
    served = endpoint(job.endpoint)
    with storage().open(file.key) as source:
        number, name = first_model(lines_of(source, lease.check))
    try:
        model, version = _resolved(job, served, name)
    except (Invalid, models.ModelNotFound) as error:
        raise InvalidItems([Fault(within(f"line {number}", error), number)]) from None
    return model, version, Requests(served, name, version.config)


def _resolved(job: Job, served: Endpoint, name: str) -> tuple[Model, ModelVersion]:
    """The model of this name. Raises ModelNotFound, or Invalid when it is of another kind."""
    with reading() as session:
        found = models.resolve(session, job.tenant_id, name, param="body.model")
    if found[0].modality != served.modality:
        raise Invalid(
            f"body.model: {name!r} makes {found[0].modality}, {served.path} gives "
            f"{served.modality}",
            param="body.model",
        )
    return found


class _Checked:
    """Items that were found good, on disk until the last one is: a million take no memory."""

    def __init__(self) -> None:
        self.count = 0
        self.cost = 0.0
        self._scratch = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115

    def add(self, item: NewItem) -> None:
        self._scratch.write(json.dumps(_VALUES(item)) + "\n")
        self.count += 1
        self.cost += item.cost

    def __del__(self) -> None:
        # A commit may be tried again and again: the file goes when nobody can ask for it any more.
        self._scratch.close()

    def __iter__(self) -> Iterator[NewItem]:
        self._scratch.seek(0)
        for line in self._scratch:
            yield NewItem(*json.loads(line))


def finalize(item: Claimed, lease: Lease) -> Conclude:
    """Write a job's output file and error file, both in input order."""
    lease.enter(Stage.STORE)
    usage = batches.Usage()
    with reading() as session:
        job = jobs.get(session, item.tenant_id, item.job_id)
        done = _write(job, "output", output_lines(session, job, lease, usage))
        rest = _write(job, "errors", error_lines(session, job, lease))

    def conclude(session: Session) -> None:
        session.add_all([file for file in (done, rest) if file is not None])
        made = (done.id if done else None, rest.id if rest else None)
        batches.finish(session, job.id, *made, usage)

    return conclude


def _write(job: Job, what: str, lines: Iterable[str]) -> File | None:
    """Store lines as a JSONL file; None when there are none."""
    with tempfile.TemporaryFile() as scratch:
        for line in lines:
            scratch.write(line.encode() + b"\n")
        if scratch.tell() == 0:
            return None
        scratch.seek(0)
        name = f"{job.id}_{what}.jsonl"
        lifetime_s = job.params.get("results_live_s")
        return files.store(job.tenant_id, _FILE_PURPOSE, name, scratch, lifetime_s=lifetime_s)
