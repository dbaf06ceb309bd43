"""Steps of a job with an input file: its lines become items, and later its result files are
written.
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import astuple
from typing import IO, Any

from sqlalchemy.orm import Session

from shared import metrics
from shared.db import reading, transaction
from shared.errors import Invalid
from shared.services import batches, files, items, jobs, models
from shared.services.items import Wanted, check_items
from shared.services.ledger.accept import NewItem
from shared.services.ledger.claim import Claimed
from shared.services.quotas import check_room
from shared.states import Lane, Stage
from shared.storage import read, storage
from shared.tables.job import Job
from shared.tables.output import Output
from worker.lease import Lease
from worker.work import Conclude

MAX_LINES = 1_000_000
_FILE_PURPOSE = "batch_output"


def validate(item: Claimed, lease: Lease) -> Conclude:
    """Turn the lines of a job's input file into items, or refuse the file naming bad lines."""
    lease.enter(Stage.LOAD)
    with transaction() as session:
        job = jobs.get(session, item.tenant_id, item.job_id)
        model, version = models.version_by_id(session, str(job.model_version_id))
        file = files.get(session, item.tenant_id, str(job.input_file_id), param="input_file")
    checked = _Checked()
    try:
        with storage().open(file.key) as source:
            for new in check_items(_lines(source, lease), model, version):
                checked.add(new)
        if checked.count == 0:
            raise Invalid("input_file: it has no lines", param="input_file")
        with reading() as session:
            # Over a limit, the file waits until there is room.
            check_room(session, item.tenant_id, checked.count)
    except Invalid as error:
        told = {"code": "invalid_input_file", "message": error.message, "param": error.param}
        return lambda session: batches.refuse(session, item.job_id, told)

    def conclude(session: Session) -> Lane | None:
        metrics.ACCEPTED.labels(job.lane).inc(checked.count)
        return batches.start(session, item.job_id, checked)

    return conclude


class _Checked:
    """Items that were found good, on disk until the last one is: a million take no memory."""

    def __init__(self) -> None:
        self.count = 0
        self._scratch = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115

    def add(self, item: NewItem) -> None:
        self._scratch.write(json.dumps(astuple(item)) + "\n")
        self.count += 1

    def __del__(self) -> None:
        # A commit may be tried again and again: the file goes when nobody can ask for it any more.
        self._scratch.close()

    def __iter__(self) -> Iterator[NewItem]:
        self._scratch.seek(0)
        for line in self._scratch:
            yield NewItem(*json.loads(line))


def _lines(source: IO[bytes], lease: Lease) -> Iterator[Wanted]:
    """The objects of a JSONL file. Blank lines and a byte-order mark are passed over."""
    for number, raw in enumerate(source, 1):
        if number > MAX_LINES:
            raise Invalid(f"input_file: more than {MAX_LINES} lines", param="input_file")
        if number % 1000 == 0:
            lease.check()
        line = raw.removeprefix(b"\xef\xbb\xbf").strip()
        if line:
            yield _wanted(line, number)


def _wanted(line: bytes, number: int) -> Wanted:
    where = f"line {number}"
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{where}: not JSON: {error}", param=where) from None
    if not isinstance(value, dict) or not isinstance(value.get("params"), dict):
        raise Invalid(f'{where}: needs an object with "params"', param=where)
    unknown = set(value) - {"custom_id", "params"}
    if unknown:
        raise Invalid(f"{where}: there is no field {sorted(unknown)[0]!r}", param=where)
    custom_id = value.get("custom_id")
    if custom_id is not None and not isinstance(custom_id, str):
        raise Invalid(f"{where}.custom_id: must be a string", param=f"{where}.custom_id")
    return Wanted(value["params"], custom_id, number)


def finalize(item: Claimed, lease: Lease) -> Conclude:
    """Write a job's output file and error file, both in input order."""
    lease.enter(Stage.STORE)
    with reading() as session:
        job = jobs.get(session, item.tenant_id, item.job_id)
        done = _write(job, "output", _output_lines(session, job, lease))
        rest = _write(job, "errors", _error_lines(session, job, lease))

    def conclude(session: Session) -> None:
        session.add_all([file for file in (done, rest) if file is not None])
        batches.finish(session, job.id, done and done.id, rest and rest.id)

    return conclude


def _write(job: Job, what: str, lines: Iterator[dict[str, Any]]) -> Any:
    """Store lines as a JSONL file; None when there are none."""
    with tempfile.TemporaryFile() as scratch:
        for line in lines:
            scratch.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        if scratch.tell() == 0:
            return None
        scratch.seek(0)
        return files.store(job.tenant_id, _FILE_PURPOSE, f"{job.id}_{what}.jsonl", scratch)


def _output_lines(session: Session, job: Job, lease: Lease) -> Iterator[dict[str, Any]]:
    for item, made in items.done_items(session, job):
        lease.check()
        yield {
            "custom_id": item.custom_id,
            "item": item.seq,
            "outputs": [_describe(output) for output in made],
        }


def _describe(output: Output) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": output.id,
        "index": output.index,
        "media_type": output.media_type,
        "sha256": output.sha256,
        "seed": output.seed,
        **output.facts,
    }
    if output.media_type.startswith("text/"):
        told["text"] = read(output.key).decode()
    return told


def _error_lines(session: Session, job: Job, lease: Lease) -> Iterator[dict[str, Any]]:
    for item in items.undone_items(session, job):
        lease.check()
        error = item.error or {
            "code": f"item_{item.state}",
            "message": f"The item was {item.state}.",
        }
        yield {"custom_id": item.custom_id, "item": item.seq, "error": error}
