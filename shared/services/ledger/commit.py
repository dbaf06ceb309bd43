"""Commits: what a worker reports of its items, fenced by its lease, all in one transaction."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.ids import new_id
from shared.services.ledger import flows
from shared.services.ledger.requeue import backoff_s, requeue
from shared.services.ledger.settle import settle
from shared.settings import settings
from shared.states import ItemState, Lane, Step


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


_HELD = text("""
    SELECT items.id, items.job_id, items.flow_id, items.step, items.attempt, flows.lane,
        jobs.tenant_id
    FROM items JOIN flows ON flows.id = items.flow_id JOIN jobs ON jobs.id = items.job_id
    WHERE items.id = ANY(:items) AND items.lease_token = :token AND items.state = 'running'
""")

_FENCE = text("SELECT items FROM leases WHERE token = :token FOR UPDATE")
_LIGHT = text("SELECT id FROM flows WHERE lane = 'light' AND tenant_id = ANY(:tenants)")
_CANCELLING = text("SELECT id FROM jobs WHERE id = ANY(:jobs) AND state = 'cancelling'")

_OUTPUTS = text("""
    INSERT INTO outputs (id, tenant_id, job_id, item_id, index, media_type, key, bytes, sha256,
        seed, facts, scores, provenance)
    SELECT * FROM jsonb_to_recordset(cast(:rows AS jsonb)) AS row (
        id text, tenant_id text, job_id text, item_id bigint, index int, media_type text, key text,
        bytes bigint, sha256 text, seed bigint, facts jsonb, scores jsonb, provenance jsonb)
""")

_END_ITEMS = text("""
    WITH ended AS (
        SELECT * FROM jsonb_to_recordset(cast(:rows AS jsonb))
            AS row (id bigint, state text, error jsonb)
    )
    UPDATE items SET state = ended.state, error = ended.error, lease_token = NULL,
        finished_at = now()
    FROM ended
    WHERE items.id = ended.id AND items.lease_token = :token AND items.state = 'running'
""")

_SHRINK = text("""
    UPDATE leases SET items = ARRAY(
        SELECT item FROM unnest(items) AS item WHERE item <> ALL(cast(:items AS bigint[])))
    WHERE token = :token
""")
_CLOSE = text("DELETE FROM leases WHERE token = :token AND cardinality(items) = 0")


def commit(session: Session, token: UUID, results: Sequence[Result]) -> Committed:
    """Write results under a lease.

    Items that the lease no longer holds are fenced: nothing of them is kept.
    """
    held = {
        row.id: row
        for row in session.execute(_HELD, {"items": [r.item for r in results], "token": token})
    }
    _lock(session, list(held.values()))
    if session.execute(_FENCE, {"token": token}).first() is None:
        return Committed()
    mine = [result for result in results if result.item in held]
    committed = Committed({result.item for result in mine})
    jobs = sorted({held[item].job_id for item in held})
    cancelling = set(session.execute(_CANCELLING, {"jobs": jobs}).scalars())
    book = _Book(held, cancelling)
    for result in mine:
        book.enter(result)
    book.write(session, token, committed)
    session.execute(_SHRINK, {"token": token, "items": sorted(committed.items)})
    session.execute(_CLOSE, {"token": token})
    if settle(session, jobs):
        committed.hints.add(Lane.LIGHT)
    return committed


def _lock(session: Session, held: Sequence[Any]) -> None:
    # A job that ends may queue its finalizing step, so the tenants' flows of lane `light` belong to
    # the lock.
    tenants = sorted({row.tenant_id for row in held})
    light = session.execute(_LIGHT, {"tenants": tenants}).scalars()
    flows.lock(session, {row.flow_id for row in held} | set(light), {row.job_id for row in held})


class _Book:
    """Collects what results mean for rows and counters, then writes it in few statements."""

    def __init__(self, held: dict[int, Any], cancelling: set[str]):
        self.held = held
        self.cancelling = cancelling
        self.outputs: list[dict[str, Any]] = []
        self.ended: list[dict[str, Any]] = []
        self.again: list[tuple[int, float, bool]] = []
        self.flows: dict[int, flows.FlowChange] = {}
        self.jobs: dict[str, flows.JobChange] = {}

    def enter(self, result: Result) -> None:
        row = self.held[result.item]
        state = self._next_state(result, row)
        if isinstance(result, Done):
            self.outputs += [_output_row(row, output) for output in result.outputs]
        if state is ItemState.QUEUED:
            delay = result.delay_s if isinstance(result, Released) else backoff_s(row.attempt)
            self.again.append((row.id, delay, isinstance(result, Released)))
        else:
            error = result.error if isinstance(result, Failed) else None
            self.ended.append({"id": row.id, "state": state, "error": error})
        self._count(row, state, result.seconds)

    def _next_state(self, result: Result, row: Any) -> ItemState:
        if isinstance(result, Done):
            return ItemState.DONE
        if row.job_id in self.cancelling:
            return ItemState.CANCELLED
        if isinstance(result, Released):
            return ItemState.QUEUED
        again = result.retry and row.attempt < settings().max_attempts
        return ItemState.QUEUED if again else ItemState.FAILED

    def _count(self, row: Any, state: ItemState, seconds: float) -> None:
        flow = self.flows.setdefault(row.flow_id, flows.FlowChange())
        flow.running -= 1
        flow.queued += state is ItemState.QUEUED
        job = self.jobs.setdefault(row.job_id, flows.JobChange())
        job.compute_seconds += seconds
        if row.step == Step.RUN:
            job.counts["running"] -= 1
            job.counts[state] += 1

    def write(self, session: Session, token: UUID, committed: Committed) -> None:
        flows.move_flows(session, self.flows)
        flows.move_jobs(session, self.jobs)
        if self.outputs:
            session.execute(_OUTPUTS, {"rows": json.dumps(self.outputs)})
        if self.ended:
            session.execute(_END_ITEMS, {"token": token, "rows": json.dumps(self.ended)})
        for item, delay, refund in self.again:
            requeue(session, [item], token, delay_s=delay, refund=refund)
            if delay == 0:
                committed.hints.add(Lane(self.held[item].lane))


def _output_row(row: Any, output: NewOutput) -> dict[str, Any]:
    return {
        "id": new_id("output"),
        "tenant_id": row.tenant_id,
        "job_id": row.job_id,
        "item_id": row.id,
        **vars(output),
    }
