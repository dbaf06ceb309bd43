"""Result files of a job: a line for each item that is done, and for each that is not."""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from sqlalchemy.orm import Session

from shared.endpoint import Endpoint, Made
from shared.endpoints import endpoint
from shared.links import PARAM, Links
from shared.services import batches, items
from shared.settings import settings
from shared.states import ItemState
from shared.storage import read
from shared.tables.job import Item, Job
from shared.tables.output import Output
from worker.lease import Lease

_READERS = 16
"""Items whose outputs are read at once; no more of their lines are held."""


def output_lines(session: Session, job: Job, lease: Lease, usage: batches.Usage) -> Iterator[str]:
    """A line for each item that is done; adds its tokens to `usage`. Memory stays flat."""
    served = endpoint(job.endpoint) if job.endpoint is not None else None

    def told(item: Item, outputs: list[Output]) -> tuple[str, batches.Usage]:
        line = _line(job, served, item, outputs)
        return json.dumps(line, ensure_ascii=False), batches.Usage.of(line)

    reading: deque[Future[tuple[str, batches.Usage]]] = deque()
    done = items.done_items(session, job)
    with ThreadPoolExecutor(_READERS, "results") as pool:
        for one in islice(done, _READERS):
            reading.append(pool.submit(told, *one))
        while reading:
            lease.check()
            line, used = reading.popleft().result()
            usage.add(used)
            yield line
            for one in islice(done, 1):
                reading.append(pool.submit(told, *one))


def _line(
    job: Job, served: Endpoint | None, item: Item, outputs: Sequence[Output]
) -> dict[str, Any]:
    if served is None:
        described = [_describe(output) for output in outputs]
        return {"custom_id": item.custom_id, "item": item.seq, "outputs": described}
    made = Made(
        id=_request_id(item),
        created=int(job.created_at.timestamp()),
        form=item.form or {},
        items=[(item, outputs)],
        content=lambda output: read(output.key),
        url=lambda output: _url(job, output),
    )
    return _answered(job, item, 200, served.answer(made))


def _answered(job: Job, item: Item, status: int, body: dict[str, Any]) -> dict[str, Any]:
    response = {"status_code": status, "request_id": job.request_id, "body": body}
    return {
        "id": _request_id(item),
        "custom_id": item.custom_id,
        "response": response,
        "error": None,
    }


def _url(job: Job, output: Output) -> str:
    if PARAM in job.params:
        return Links(**job.params[PARAM]).to(output.id)
    # Accepted by the release before.
    base_url = settings().public_url or str(job.params.get("base_url", ""))
    return f"{base_url}/api/v1/outputs/{output.id}/content"


def _request_id(item: Item) -> str:
    return f"batch_req_{item.id}"


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


_NEVER_RAN = {ItemState.CANCELLED: "batch_cancelled", ItemState.EXPIRED: "batch_expired"}


def error_lines(session: Session, job: Job, lease: Lease) -> Iterator[str]:
    """A line for each item that is not done."""
    for item in items.undone_items(session, job):
        lease.check()
        if job.endpoint is None:
            error = item.error or {
                "code": f"item_{item.state}",
                "message": f"The item was {item.state}.",
            }
            line = {"custom_id": item.custom_id, "item": item.seq, "error": error}
        else:
            line = _undone_request(job, item)
        yield json.dumps(line, ensure_ascii=False)


def _undone_request(job: Job, item: Item) -> dict[str, Any]:
    """What failed has the answer that a single call would have had; what never ran has none."""
    code = _NEVER_RAN.get(ItemState(item.state))
    if code is None:
        failed = items.failure_of(item)
        return _answered(job, item, failed.status, {"error": failed.detail})
    message = f"This request was {item.state} before it was done."
    return {
        "id": _request_id(item),
        "custom_id": item.custom_id,
        "response": None,
        "error": {"code": code, "message": message},
    }
