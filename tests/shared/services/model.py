"""The ledger in plain Python: what has to become of jobs, items and leases, call by call.

It knows no clock and no database; whoever drives it says what was claimed and what ran out.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from shared.states import FINAL_JOB_STATES, ItemState, JobState, Lane, Stop

MOST_ERRORS = 3
MOST_CRASHES = 3
ALONE_AFTER = 2
"""Crashes after which an item shares no batch."""

SERVED = {JobState.QUEUED, JobState.RUNNING}
"""Jobs whose waiting items stand in the queue."""


class Report(StrEnum):
    """What a worker says of an item."""

    DONE = "done"
    BROKEN = "failed by an error of the code"
    REFUSED = "failed by an error of the request"
    RETRIED = "failed, and may be tried again"
    RELEASED = "released"
    DELAYED = "released for later"
    NOTHING = "nothing yet"


class Order(StrEnum):
    """What a client may want of a job."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"


REASONS = {
    Report.BROKEN: "internal: ValueError",
    Report.REFUSED: "invalid_value",
    Report.RETRIED: "internal: OSError",
}
CRASHED = "crashed"


@dataclass(eq=False)
class Lease:
    """What one claim took."""

    token: UUID
    lane: Lane
    items: list["Item"]
    ran_out: bool = False

    @property
    def held(self) -> list["Item"]:
        return [item for item in self.items if item.lease is self]

    @property
    def late(self) -> bool:
        """Its time is over, but no sweeper has seen that: it still counts."""
        return self.ran_out and bool(self.held)

    def commit(self, reports: dict["Item", Report]) -> None:
        """Its worker reports of items that it holds."""
        for item, report in reports.items():
            item.take(report)
        settle(list(reports))

    def crash(self) -> None:
        """Its worker is gone."""
        held = self.held
        for item in held:
            item.crash()
        settle(held)


@dataclass(eq=False)
class Item:
    """One item, wherever it stands."""

    id: int
    job: "Job" = field(repr=False)
    batch_key: str
    n: int
    state: ItemState = ItemState.QUEUED
    attempt: int = 0
    crashes: int = 0
    available: bool = True
    """False: it waits for its pause to be over."""
    lease: Lease | None = field(default=None, repr=False)
    reason: str | None = None
    """Why it has failed."""

    @property
    def order(self) -> tuple[int, int]:
        """Its place in its flow."""
        return self.job.rank, self.id

    @property
    def errors(self) -> int:
        """How often it has raised, if it does so now; crashes are counted apart."""
        return self.attempt - self.crashes

    def start(self, lease: Lease) -> None:
        self.state, self.lease = ItemState.RUNNING, lease
        self.attempt += 1

    def wait(self, available: bool = True) -> None:
        self.state, self.lease, self.available = ItemState.QUEUED, None, available

    def end(self, state: ItemState, reason: str | None = None) -> None:
        self.state, self.lease, self.reason = state, None, reason

    def take(self, report: Report) -> None:
        if report is Report.DONE:
            self.end(ItemState.DONE)
        elif self.job.state is JobState.CANCELLING:
            self.end(ItemState.CANCELLED)
        elif report in {Report.RELEASED, Report.DELAYED}:
            self.attempt -= 1
            self.wait(available=report is Report.RELEASED)
        elif report is Report.RETRIED and self.errors < MOST_ERRORS:
            self.wait(available=False)
        else:
            self.end(ItemState.FAILED, REASONS[report])

    def crash(self) -> None:
        self.crashes += 1
        if self.job.state is JobState.CANCELLING:
            self.end(ItemState.CANCELLED)
        elif self.crashes == MOST_CRASHES:
            self.end(ItemState.FAILED, CRASHED)
        else:
            self.wait(available=self.crashes == 1)
            self.batch_key = f"alone:{self.id}" if self.crashes >= ALONE_AFTER else self.batch_key

    def repeat(self) -> None:
        self.attempt = self.crashes = 0
        self.reason = None
        self.wait()


@dataclass(eq=False)
class Job:
    """One job with all its items."""

    id: str
    tenant: str
    lane: Lane
    rank: int
    has_deadline: bool
    ran_out: bool = False
    """Its deadline has passed."""
    state: JobState = JobState.QUEUED
    started: bool = False
    items: list[Item] = field(default_factory=list)
    announced: list[JobState] = field(default_factory=list)
    """Every end that it came to."""

    @property
    def ended(self) -> bool:
        return self.state in FINAL_JOB_STATES

    @property
    def counts(self) -> Counter[ItemState]:
        return Counter(item.state for item in self.items)

    @property
    def waiting(self) -> list[Item]:
        return [item for item in self.items if item.state is ItemState.QUEUED]

    @property
    def is_dated(self) -> bool:
        """Something of it waits, and its deadline is still to come."""
        return self.has_deadline and not self.ran_out and bool(self.waiting)

    @property
    def overdue(self) -> bool:
        """Something of it waits although its deadline has passed."""
        may = self.state in SERVED | {JobState.PAUSED}
        return may and self.ran_out and bool(self.waiting)

    def start(self) -> None:
        self.started = True
        if self.state is JobState.QUEUED:
            self.state = JobState.RUNNING

    def allows(self, order: Order) -> bool:
        match order:
            case Order.PAUSE:
                return self.state in SERVED | {JobState.PAUSED}
            case Order.RESUME:
                return self.state is JobState.PAUSED
            case Order.CANCEL:
                return not self.ended
            case Order.RETRY:
                return self.ended and self.state is not JobState.SUCCEEDED

    def obey(self, order: Order) -> None:
        """What becomes of it by an order; nothing by one that it does not allow."""
        if not self.allows(order):
            return
        match order:
            case Order.PAUSE:
                self.state = JobState.PAUSED
            case Order.RESUME:
                self.state = JobState.RUNNING if self.started else JobState.QUEUED
                for item in self.waiting:
                    item.wait()
            case Order.CANCEL:
                self.state = JobState.CANCELLING
                self._end_waiting(ItemState.CANCELLED)
            case Order.RETRY:
                self.repeat([item for item in self.items if item.state is not ItemState.DONE])

    def expire(self) -> None:
        if self.overdue:
            self._end_waiting(ItemState.EXPIRED)

    def _end_waiting(self, state: ItemState) -> None:
        for item in self.waiting:
            item.end(state)
        self.settle()

    def repeat(self, items: Sequence[Item]) -> None:
        """Run items that have ended once more, and reopen the job for them."""
        for item in items:
            item.repeat()
        if self.ended:
            self.state = JobState.QUEUED
        if self.ran_out:
            self.has_deadline = self.ran_out = False

    def settle(self) -> None:
        """End, once nothing of it waits or runs."""
        if not self.ended and not {ItemState.QUEUED, ItemState.RUNNING} & self.counts.keys():
            self.state = self._end_state()
            self.announced.append(self.state)

    def _end_state(self) -> JobState:
        counts = self.counts
        if counts[ItemState.DONE] == len(self.items):
            return JobState.SUCCEEDED
        if self.state is JobState.CANCELLING or counts[ItemState.CANCELLED]:
            return JobState.CANCELLED
        if counts[ItemState.EXPIRED]:
            return JobState.EXPIRED
        return JobState.PARTIAL if counts[ItemState.DONE] else JobState.FAILED


def settle(items: Sequence[Item]) -> None:
    """End the jobs of items, if these were the last."""
    for job in {item.job for item in items}:
        job.settle()


@dataclass
class Model:
    """All that the ledger knows."""

    limits: dict[str, int | None]
    """Each tenant's most running items in a lane."""
    jobs: list[Job] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    paused: set[Lane] = field(default_factory=set)

    @property
    def items(self) -> list[Item]:
        return [item for job in self.jobs for item in job.items]

    def has(self, state: ItemState | JobState) -> bool:
        """Some item or job is in this state."""
        return any(each.state is state for each in [*self.jobs, *self.items])

    @property
    def open(self) -> list[Job]:
        return [job for job in self.jobs if not job.ended]

    @property
    def late(self) -> list[Lease]:
        return [lease for lease in self.leases if lease.late]

    @property
    def overdue(self) -> list[Job]:
        return [job for job in self.jobs if job.overdue]

    @property
    def has_work(self) -> bool:
        """Something may be claimed."""
        return any(self.claimable(lane) for lane in {job.lane for job in self.jobs})

    def claimable(self, lane: Lane) -> dict[str, list[Item]]:
        """What may be claimed, in its order, of each tenant that has room."""
        found = {}
        for tenant in self.limits:
            waiting = [
                item
                for job in self._jobs(lane, tenant)
                for item in job.waiting
                if item.available and job.state in SERVED
            ]
            if waiting and self.room(lane, tenant) > 0 and lane not in self.paused:
                found[tenant] = sorted(waiting, key=lambda item: item.order)
        return found

    def room(self, lane: Lane, tenant: str) -> int:
        """How many more items of a tenant may run."""
        limit = self.limits[tenant]
        running = sum(job.counts[ItemState.RUNNING] for job in self._jobs(lane, tenant))
        return len(self.items) if limit is None else limit - running

    def _jobs(self, lane: Lane, tenant: str) -> list[Job]:
        return [job for job in self.jobs if job.lane is lane and job.tenant == tenant]

    def claim(self, lease: Lease) -> None:
        self.leases.append(lease)
        for item in lease.items:
            item.start(lease)
            item.job.start()

    def stop(self, lease: Lease) -> Stop | None:
        """Why the worker of a lease should stop."""
        states = {item.job.state for item in lease.held}
        if not states:
            return Stop.SHUTDOWN
        if JobState.CANCELLING in states:
            return Stop.CANCEL
        return Stop.PAUSE if JobState.PAUSED in states or lease.lane in self.paused else None
