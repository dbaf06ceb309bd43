"""Commits: what a worker reports of its items, fenced by its lease, all in one transaction."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from shared import metrics
from shared.ids import new_id
from shared.services import failures
from shared.services.failures import NewFailure
from shared.services.ledger import flows
from shared.services.ledger.counters import JOB_CHANGES, MOVED_JOBS, JobChange, parameters
from shared.services.ledger.flows import FlowChange
from shared.services.ledger.requeue import Again, backoff_s, requeue
from shared.services.ledger.settle import settle
from shared.services.ledger.used import ENTERED, JobStep, Used
from shared.services.ledger.used import parameters as used_parameters
from shared.settings import settings
from shared.statement import Statement, records
from shared.states import FailureKind, ItemState, JobState, Lane, OutputState, Step


@dataclass(frozen=True)
class NewOutput:
    """An output that is stored and waits for its row."""

    index: int
    media_type: str
    key: str
    bytes: int
    sha256: str
    seed: int
    facts: dict[str, Any]
    scores: dict[str, Any]
    provenance: dict[str, Any]
    state: OutputState = OutputState.RELEASED


@dataclass(frozen=True)
class Done:
    """The item ran to its end; `outputs` are all it made."""

    item: int
    outputs: Sequence[NewOutput] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Failed:
    """The item raised. With `retry` it runs again, after a pause, until its attempts are spent."""

    item: int
    error: dict[str, Any]
    retry: bool = False
    seconds: float = 0.0
    log: str = ""
    """What its worker logged about it."""


@dataclass(frozen=True)
class Released:
    """The item goes back to the queue without having spent an attempt."""

    item: int
    delay_s: float = 0.0
    seconds: float = 0.0


Result = Done | Failed | Released


@dataclass
class Committed:
    """What a commit changed: the items that were still under the lease, and the lanes to hint."""

    items: set[int] = field(default_factory=set)
    hints: set[Lane] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Held:
    """An item that is still under the lease; the columns of `_HELD` in their order."""

    id: int
    job_id: str
    flow_id: int
    step: str
    attempt: int
    crashes: int
    cost: float
    tenant_id: str
    lane: str
    job_state: str
    limited: bool
    """Its tenant may run only so many at once."""
    worker: str


# The rows of jobs are locked before the lease is looked at: whatever waits for one of them sees all
# that this commit did. The lease is the fence: where it is gone or holds none of the items any
# more, no row is found.
_HELD = Statement(
    """
    WITH held AS (
        SELECT id, job_id, flow_id, step, attempt, crashes, cost FROM items
        WHERE id = ANY(:items) AND lease_token = :token AND state = 'running'
    ), locked AS (
        SELECT id, tenant_id, lane, state FROM jobs WHERE id IN (SELECT job_id FROM held)
        ORDER BY id FOR NO KEY UPDATE
    ), closed AS (
        DELETE FROM leases WHERE token = :token AND items <@ cast(:items AS bigint[])
            AND (SELECT count(*) FROM locked) > 0
        RETURNING worker
    ), shrunk AS (
        UPDATE leases SET items = ARRAY(
            SELECT item FROM unnest(items) AS item WHERE item <> ALL(cast(:items AS bigint[])))
        WHERE token = :token AND NOT items <@ cast(:items AS bigint[])
            AND (SELECT count(*) FROM locked) > 0
        RETURNING worker
    ), fence AS (
        SELECT worker FROM closed UNION ALL SELECT worker FROM shrunk
    )
    SELECT held.*, locked.tenant_id, locked.lane, locked.state,
        tenants.max_running IS NOT NULL, fence.worker
    FROM held JOIN locked ON locked.id = held.job_id JOIN tenants ON tenants.id = locked.tenant_id
    CROSS JOIN fence
""",
    _Held,
)

_OUTPUT = """
    id text, tenant_id text, job_id text, item_id bigint, index int, media_type text, key text,
    bytes bigint, sha256 text, seed bigint, facts jsonb, scores jsonb, provenance jsonb, state text
"""

_WRITE = Statement(
    f"""
    WITH kept AS (
        INSERT INTO outputs (id, tenant_id, job_id, item_id, index, media_type, key, bytes, sha256,
            seed, facts, scores, provenance, state)
        {records("outputs", _OUTPUT)}
    ), ended AS ({records("ended", "id bigint, state text, error jsonb")}), updated AS (
        UPDATE items SET state = ended.state, error = ended.error, lease_token = NULL,
            finished_at = now()
        FROM ended
        WHERE items.id = ended.id AND items.lease_token = :token AND items.state = 'running'
    ), {ENTERED}, {JOB_CHANGES}, {MOVED_JOBS}
    SELECT id FROM moved_jobs WHERE queued = 0 AND running = 0
""",
    str,
)


def commit(session: Session, token: UUID, results: Sequence[Result]) -> Committed:
    """Write results under a lease.

    Items that the lease no longer holds are fenced: nothing of them is kept.
    """
    names = {"items": [result.item for result in results], "token": token}
    held = {row.id: row for row in _HELD.rows(session, names)}
    committed = Committed(set(held))
    if held:
        book = _Book(held)
        for result in results:
            if result.item in held:
                book.enter(result)
        book.write(session, token, committed)
    return committed


class _Book:
    """Collects what results mean for rows and counters, then writes it in few statements."""

    def __init__(self, held: dict[int, _Held]):
        self.held = held
        self.outputs: list[dict[str, Any]] = []
        self.ended: list[dict[str, Any]] = []
        self.again: list[Again] = []
        self.failures: list[NewFailure] = []
        self.jobs: dict[str, JobChange] = defaultdict(JobChange)
        self.flows: dict[int, FlowChange] = defaultdict(FlowChange)
        self.used: dict[JobStep, Used] = defaultdict(Used)
        self.hints: set[Lane] = set()
        self.became: Counter[tuple[Lane, ItemState]] = Counter()
        self.retries: Counter[Lane] = Counter()

    def enter(self, result: Result) -> None:
        row = self.held[result.item]
        state = self._next_state(result, row)
        if isinstance(result, Done):
            self.outputs += [_output_row(row, output) for output in result.outputs]
            self.flows[row.flow_id].bytes += sum(output.bytes for output in result.outputs)
            for output in result.outputs:
                self.used[row.job_id, row.step].add_output(output.index, output.bytes, output.facts)
        if isinstance(result, Failed):
            self.failures.append(self._failure(result, row, state))
        if state is ItemState.QUEUED:
            self.again.append(_again(result, row))
            self.retries[_lane(row)] += isinstance(result, Failed)
        else:
            error = result.error if isinstance(result, Failed) else None
            self.ended.append({"id": row.id, "state": state, "error": error})
        self._count(row, state, result.seconds)

    def _failure(self, result: Failed, row: _Held, state: ItemState) -> NewFailure:
        return NewFailure(
            row.tenant_id,
            row.job_id,
            row.id,
            row.attempt,
            FailureKind.ERROR,
            state is ItemState.FAILED,
            result.error,
            row.worker,
            result.log,
        )

    def _next_state(self, result: Result, row: _Held) -> ItemState:
        if isinstance(result, Done):
            return ItemState.DONE
        if row.job_state == JobState.CANCELLING:
            return ItemState.CANCELLED
        if isinstance(result, Released):
            return ItemState.QUEUED
        again = result.retry and _errors(row) < settings().max_attempts
        return ItemState.QUEUED if again else ItemState.FAILED

    def _count(self, row: _Held, state: ItemState, seconds: float) -> None:
        waits = state is ItemState.QUEUED and row.job_state != JobState.PAUSED
        self.flows[row.flow_id].running -= 1
        self.flows[row.flow_id].queued += waits
        self.flows[row.flow_id].cost += row.cost * waits
        job = self.jobs[row.job_id]
        job.compute_seconds += seconds
        used = self.used[row.job_id, row.step]
        used.compute_seconds += seconds
        if row.step == Step.RUN:
            job.counts[ItemState.RUNNING] -= 1
            job.counts[state] += 1
            used.items_done += state is ItemState.DONE
            used.items_failed += state is ItemState.FAILED
            used.cost += row.cost * (state is ItemState.DONE)
        lane = _lane(row)
        self.became[lane, state] += 1
        if waits or row.limited:
            # A flow that was full has room again.
            self.hints.add(lane)

    def write(self, session: Session, token: UUID, committed: Committed) -> None:
        told = {"outputs": json.dumps(self.outputs), "ended": json.dumps(self.ended)}
        names = {"token": token} | told | parameters(self.jobs) | used_parameters(self.used)
        empty = _WRITE.rows(session, names)
        if self.again:
            requeue(session, token, self.again)
        failures.record(session, self.failures)
        for flow_id, change in self.flows.items():
            flows.change(session, flow_id, change)
        self._count_at_commit(session)
        committed.hints |= self.hints
        if settle(session, empty):
            committed.hints.add(Lane.LIGHT)

    def _count_at_commit(self, session: Session) -> None:
        for (lane, state), count in self.became.items():
            metrics.count_at_commit(session, metrics.ITEMS.labels(lane, state), count)
        for lane, count in self.retries.items():
            metrics.count_at_commit(session, metrics.RETRIES.labels(lane, "error"), count)


def _lane(row: _Held) -> Lane:
    return Lane.LIGHT if row.step != Step.RUN else Lane(row.lane)


def _again(result: Result, row: _Held) -> Again:
    if isinstance(result, Released):
        return Again(row.id, result.delay_s, refund=True)
    return Again(row.id, backoff_s(_errors(row)))


def _errors(row: _Held) -> int:
    """How often the item has raised, now included: crashes are attempts too, counted apart."""
    return int(row.attempt - row.crashes)


def _output_row(row: _Held, output: NewOutput) -> dict[str, Any]:
    return {
        "id": new_id("output"),
        "tenant_id": row.tenant_id,
        "job_id": row.job_id,
        "item_id": row.id,
        **vars(output),
    }
