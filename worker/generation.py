"""Generation of a batch: the forward pass, then encode and store, apart so that they overlap."""

import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from traceback import clear_frames
from typing import Any, cast

from shared import metrics, pieces
from shared.errors import Permanent
from shared.services.ledger.claim import Claimed
from shared.services.ledger.commit import Done, NewOutput, Released, Result
from shared.services.outputs import ITEMS_PER_FOLDER
from shared.states import JobKind, OutputState, Stage
from shared.version import code_version
from worker.device import is_out_of_memory
from worker.failure import failure
from worker.family import Embeds, Part, Piece, Refusal, Request, Vectors, Yielded
from worker.host import Host
from worker.lease import Lease
from worker.media import encode
from worker.registry import Ready

log = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What a forward pass brought: whole items to be stored, and results of the others."""

    provenance: dict[str, Any] = field(default_factory=dict)
    """Of all its outputs. The model itself is not held: while they are stored it may leave memory.
    """
    seconds: float = 0.0
    """Of one item's share."""
    parts: dict[int, list[Part]] = field(default_factory=dict)
    """Outputs by item, for items that are whole."""
    items: dict[int, Claimed] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)


def forward(host: Host, items: Sequence[Claimed], lease: Lease) -> Outcome:
    """Run items of one model version.

    Never raises: what goes wrong becomes a result of its item.
    """
    try:
        lease.enter(Stage.LOAD)
        with metrics.timed("load"):
            ready = host.models.get(str(items[0].model_version_id))
    except Exception as error:
        return Outcome(results=[failure(item.id, error) for item in items])
    lease.enter(Stage.FORWARD)
    began = time.monotonic()
    outcome = Outcome(_provenance(host, ready), items={item.id: item for item in items})
    with metrics.timed("forward"):
        _generate(host, ready, items, lease, outcome)
    outcome.seconds = (time.monotonic() - began) / len(items)
    outcome.provenance["seconds"] = round(outcome.seconds, 4)
    return outcome


def _generate(
    host: Host, ready: Ready, items: Sequence[Claimed], lease: Lease, outcome: Outcome
) -> None:
    """Generate; a batch that raises is halved, so that one bad item does not fail its neighbours.

    Halving changes no content: the same seed gives the same content in whatever batch.
    """
    try:
        requests = [_request(ready, item) for item in items]
        made = list(_sent(items, _run(ready, items[0].kind, requests, lease)))
    except Exception as error:
        raised = error
        # What its frames hold of the device's memory is needed by what runs next.
        clear_frames(raised.__traceback__)
    else:
        _sort(items, requests, made, outcome)
        return
    if is_out_of_memory(raised) and host.models.keep_only(ready):
        log.warning("a batch found no memory; running it again without the other models")
        _generate(host, ready, items, lease, outcome)
        return
    if len(items) == 1:
        outcome.results.append(failure(items[0].id, raised))
        return
    log.warning("a batch of %d raised %r; running its halves", len(items), raised)
    half = len(items) // 2
    _generate(host, ready, items[:half], lease, outcome)
    _generate(host, ready, items[half:], lease, outcome)


def _request(ready: Ready, item: Claimed) -> Request:
    watched = item.form is not None and bool(item.form.get("stream"))
    return Request(ready.family.params(item.kind).model_validate(item.params), watched)


def _run(ready: Ready, kind: str, requests: Sequence[Request], lease: Lease) -> Iterator[Yielded]:
    if kind == JobKind.EMBEDDING:
        return cast(Embeds, ready.code).embed(ready.loaded, requests, lease)
    return ready.code.generate(ready.loaded, requests, lease)


def _sent(items: Sequence[Claimed], made: Iterable[Yielded]) -> Iterator[Part | Refusal]:
    """What a family makes, pieces left out: they go straight to whoever watches."""
    for one in made:
        if isinstance(one, Piece):
            item = items[one.request]
            pieces.send(item.job_id, _piece(item, one))
        else:
            yield one


def _piece(item: Claimed, made: Piece) -> pieces.Piece:
    logprobs = _storable(made.logprobs) if made.logprobs is not None else None
    told = (made.index, made.start, made.text, made.last, made.first_token)
    return pieces.Piece(item.seq, *told, logprobs)


def _sort(
    items: Sequence[Claimed],
    requests: Sequence[Request],
    made: Iterable[Part | Refusal],
    outcome: Outcome,
) -> None:
    """Whole items to `parts`; refused ones failed; unfinished ones (it was stopped) released."""
    parts: dict[int, list[Part]] = defaultdict(list)
    refused: dict[int, Permanent] = {}
    for part in made:
        if isinstance(part, Refusal):
            refused[part.request] = part.error
        else:
            parts[part.request].append(part)
    for position, (item, request) in enumerate(zip(items, requests, strict=True)):
        if position in refused:
            outcome.results.append(failure(item.id, refused[position]))
        elif len(parts[position]) == request.params.n:
            outcome.parts[item.id] = sorted(parts[position], key=lambda part: part.index)
        else:
            outcome.results.append(Released(item.id))


def store(outcome: Outcome, lease: Lease, pool: Executor) -> list[Result]:
    """Encode and store every whole item's outputs. Never raises; gives a result for each item."""
    lease.enter(Stage.STORE)
    told = outcome.provenance
    futures: dict[int, list[Future[NewOutput]]] = {
        item: [pool.submit(_store_part, outcome.items[item], part, told) for part in parts]
        for item, parts in outcome.parts.items()
    }
    results = list(outcome.results)
    for item, stored in futures.items():
        try:
            outputs = [future.result() for future in stored]
        except Exception as error:
            results.append(failure(item, error))
        else:
            results.append(Done(item, outputs))
        lease.touch()
    # What became of an item does not change what it took.
    return [replace(result, seconds=outcome.seconds) for result in results]


def _store_part(item: Claimed, part: Part, provenance: dict[str, Any]) -> NewOutput:
    is_data = isinstance(part.media, Vectors)
    with metrics.timed("encode"):
        encoded = encode(part.media)
    folder = f"{item.tenant_id}/outputs/{item.job_id}/{item.seq // ITEMS_PER_FOLDER}"
    key = f"{folder}/{item.id}-{part.index}-{encoded.sha256}"
    with metrics.timed("store"):
        encoded.store(key)
    return NewOutput(
        index=part.index,
        media_type=encoded.media_type,
        key=key,
        bytes=len(encoded.content),
        sha256=encoded.sha256,
        seed=part.seed,
        state=OutputState.UNREVIEWED if is_data else OutputState.RELEASED,
        facts=_storable(part.facts),
        scores={},
        provenance=provenance,
    )


def _storable(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts as Postgres takes them. Raises Permanent for values that are not numbers."""
    try:
        told = json.dumps(facts, allow_nan=False)
    except ValueError:
        raise Permanent("the model gave values that are not numbers") from None
    # A token may be the byte 0, which no text of Postgres can hold.
    return json.loads(told.replace("\\u0000", "\\ufffd")) if "\\u0000" in told else facts


def _provenance(host: Host, ready: Ready) -> dict[str, Any]:
    return {
        "model": ready.name,
        "family": ready.family.name,
        "weights_hash": ready.weights_hash,
        "demo_sized": ready.demo_sized,
        "code_version": code_version(),
        "libraries": {"torch": _torch_version()},
        "device": host.device_name,
    }


@cache
def _torch_version() -> str:
    # Cached: it is read from the package's metadata, which takes milliseconds.
    return version("torch")
