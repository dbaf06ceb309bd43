"""The runner: claims what a lane has and runs it.

Of generation three batches are in flight: one claimed, one in the forward pass, one being stored.
"""

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from shared import metrics
from shared.db import transaction
from shared.errors import Stopped
from shared.queues import hint
from shared.services.ledger.claim import Claim, claim
from shared.services.ledger.commit import Done, Released
from shared.states import JobKind, Lane, Step
from worker import identity
from worker.failure import failure
from worker.host import Host, host
from worker.lease import Lease
from worker.work import work_for
from worker.writing import write

if TYPE_CHECKING:
    from worker.generation import Outcome

log = logging.getLogger(__name__)

BATCH = 16
"""Most items of one claim: about what a family runs in one forward pass."""
_TURN_S = 20.0
"""How long one hint keeps a worker in a lane, so that its other lanes get their turn."""
_HINT_EVERY_S = 1.0
_TRIES = 3
"""Claims that come out empty though there is more, because others took it, before a turn ends."""
_STORING = 2
"""Batches that may be stored while the next one runs: more would only hold memory."""


def drain(lane: Lane) -> None:
    """Run what a lane has, until it has nothing or the turn is over."""
    if identity.is_ending():
        return
    turn = _Turn(host(), lane)
    try:
        turn.run()
    finally:
        turn.close()


@dataclass(frozen=True)
class _Batch:
    """A claim and its lease, which is kept alive from the claim until `release`."""

    claim: Claim
    lease: Lease

    @property
    def is_suspect(self) -> bool:
        """Whether a process has ended while it ran some of these items."""
        return any(item.crashes for item in self.claim.items)

    @property
    def is_generation(self) -> bool:
        first = self.claim.items[0]
        return JobKind(first.kind).has_outputs and first.step == Step.RUN


class _Turn:
    """One stay of this worker in a lane."""

    def __init__(self, host_: Host, lane: Lane):
        self.host = host_
        self.lane = lane
        self.ends_at = time.monotonic() + _TURN_S
        self.hinted_at = 0.0
        self.claimer = ThreadPoolExecutor(1, "claim")
        self.finisher = ThreadPoolExecutor(_STORING, "finish")
        self.encoders = ThreadPoolExecutor(8, "store")
        self.storing = BoundedSemaphore(_STORING)

    def close(self) -> None:
        for pool in (self.claimer, self.finisher, self.encoders):
            pool.shutdown(wait=True)

    def run(self) -> None:
        waiting = self.claimer.submit(self._claim)
        while (batch := waiting.result()).claim.items:
            if batch.claim.more:
                self._hint(now=self.over)
            if batch.is_generation:
                waiting = self._generate(batch)
            else:
                with batch.lease.logged():
                    run_long(batch.claim, batch.lease)
                self.host.give_back_memory()
                waiting = self._next()

    @property
    def over(self) -> bool:
        """Whether no further batch should be claimed: the turn's time is up, or the worker is to
        end.
        """
        return identity.is_ending() or time.monotonic() > self.ends_at

    def _claim(self) -> _Batch:
        for _ in range(_TRIES):
            with metrics.timed("claim"), transaction() as session:
                found = claim(session, self.lane, self.host.name, BATCH, self.host.warm)
            if found.items or not found.more:
                break
        lease = Lease(found.token, self.host.keeper, found.ids)
        if found.items:
            lease.hold()
            metrics.CLAIMS.labels(self.lane).inc()
            for item in found.items:
                metrics.WAIT.labels(self.lane, f"{item.weight:g}").observe(item.waited_s)
        return _Batch(found, lease)

    def _next(self) -> Future[_Batch]:
        if not self.over:
            return self.claimer.submit(self._claim)
        nothing: Future[_Batch] = Future()
        empty = Claim(self.lane, [])
        nothing.set_result(_Batch(empty, Lease(empty.token, self.host.keeper)))
        return nothing

    def _hint(self, now: bool) -> None:
        """Wake idle workers for what is left, and ourselves for after this turn."""
        if now or time.monotonic() - self.hinted_at > _HINT_EVERY_S:
            self.hinted_at = time.monotonic()
            hint(self.lane)

    def _generate(self, batch: _Batch) -> Future[_Batch]:
        """Run a batch and hand it over to be stored; returns the next claim, made meanwhile."""
        # Torch enters a process only here, where a model runs.
        from worker.generation import forward

        if batch.is_suspect:
            # Should this process end now, it takes nothing else with it.
            self._await_stored()
            waiting = None
        else:
            waiting = self._next() if batch.claim.more else None
        with batch.lease.logged():
            outcome = forward(self.host, batch.claim.items, batch.lease)
        self.storing.acquire()
        self.finisher.submit(self._finish, batch, outcome)
        return waiting or self._next()

    def _await_stored(self) -> None:
        for _ in range(_STORING):
            self.storing.acquire()
        for _ in range(_STORING):
            self.storing.release()

    def _finish(self, batch: _Batch, outcome: "Outcome") -> None:
        from worker.generation import store

        try:
            with batch.lease.logged():
                write(batch.lease, store(outcome, batch.lease, self.encoders))
        except Exception:
            log.exception("a batch was not written; its lease runs out and it is run again")
        finally:
            batch.lease.release()
            self.storing.release()


def run_long(claimed: Claim, lease: Lease) -> None:
    """Run one long item: training, evaluation, ingestion, or a step of a job."""
    item = claimed.items[0]
    began = time.monotonic()
    try:
        conclude = work_for(item.kind, item.step)(item, lease)
        write(lease, [Done(item.id, seconds=time.monotonic() - began)], conclude)
    except Stopped:
        write(lease, [Released(item.id, seconds=time.monotonic() - began)])
    except Exception as error:
        host().make_room(error)
        failed = failure(item.id, error)
        write(lease, [replace(failed, seconds=time.monotonic() - began)])
    finally:
        lease.release()
