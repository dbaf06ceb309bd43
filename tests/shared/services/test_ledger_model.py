"""The ledger's services on real Postgres against a model in plain Python: called in any order, with
transactions lost in between, they do what the model does.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.orm import Session

from shared.db import reading, transaction
from shared.errors import Conflict
from shared.services import failures, jobs, retries
from shared.services.ledger import expire, leases, pause, sweep
from shared.services.ledger.accept import NewItem, add_items
from shared.services.ledger.claim import claim
from shared.services.ledger.commit import commit
from shared.states import ItemState, JobState, Lane, Stage
from tests.conftest import empty_tables
from tests.ledger import execute, faults
from tests.settings import forget_settings
from tests.shared.services.model import (
    Item,
    Job,
    Lease,
    Model,
    Order,
    Report,
)
from tests.shared.services.model_database import (
    Fault,
    Lost,
    Wanted,
    check_claim,
    check_rows,
    give_past,
    job_of,
    losing,
    result_of,
    row_of,
    tenant_of,
    webhook_of,
)

SERVICES = {
    Order.PAUSE: jobs.pause,
    Order.RESUME: jobs.resume,
    Order.CANCEL: jobs.cancel,
    Order.RETRY: retries.retry,
}

LIMITS = {"free": None, "other": None, "limited": 1}
"""The tenants, and how many items of each may run at once in a lane."""

MOST_OPEN = 4
"""Jobs at a time; with more, few would come to an end."""

PAST = "now() - interval '1 second'"

JOBS, LEASES = Bundle("jobs"), Bundle("leases")
HELD = LEASES.filter(lambda lease: lease.held)
FAILING = JOBS.filter(lambda job: job.counts[ItemState.FAILED])

# Drawn unevenly, so that tenants meet in a lane, limits are reached and jobs come to their end.
TENANTS = st.sampled_from([*LIMITS, "limited"])
LANES = st.sampled_from([Lane.TEXT, Lane.TEXT, Lane.IMAGE])
COUNTS = st.sampled_from([1, 2, 3, 4, 4])
ORDERS = st.sampled_from(Order)
MEANWHILE = st.sampled_from([None, None, Order.PAUSE, Order.CANCEL])
REPORTS = st.lists(
    st.sampled_from([*Report, *[Report.DONE] * 3, Report.RETRIED]), min_size=4, max_size=4
)
WANTED = st.builds(
    Wanted,
    tenant=TENANTS,
    lane=LANES,
    items=st.lists(st.tuples(st.sampled_from("aab"), st.integers(1, 2)), min_size=1, max_size=6),
    priority=st.integers(0, 2),
    age_s=st.sampled_from([0, 30, 90]),
    has_deadline=st.booleans(),
    errors=st.sampled_from([0, 0, 0, 1, 2]),
    crashes=st.sampled_from([0, 0, 0, 1, 2]),
)


def step(target: Bundle | None = None, **drawn: Any) -> Callable[[Callable[..., None]], Any]:
    """A rule that ends where one of its transactions is lost. What it has made by then goes to
    `target`.
    """

    def decorate(method: Callable[..., None]) -> Any:
        @wraps(method)
        def run(self: "Ledger", **arguments: Any) -> Any:
            old_jobs, old_leases = len(self.model.jobs), len(self.model.leases)
            with suppress(Lost):
                method(self, **arguments)
            if target is None:
                return None
            if target is JOBS:
                return multiple(*self.model.jobs[old_jobs:])
            return multiple(*self.model.leases[old_leases:])

        return rule(target=target, **drawn)(run)

    return decorate


def when(holds: Callable[[Model], bool]) -> Any:
    """A rule that is worth a step only then."""
    return precondition(lambda self: holds(self.model))


def refused(unless: bool) -> AbstractContextManager[Any]:
    """The service must refuse the call, unless it is allowed."""
    return nullcontext() if unless else pytest.raises(Conflict)


class Ledger(RuleBasedStateMachine):
    """Clients, workers and sweepers, one call after another."""

    @initialize(target=JOBS, wanted=st.lists(WANTED, min_size=2, max_size=4))
    def the_first_jobs_are_accepted(self, wanted: list[Wanted]) -> Any:
        self.faults: list[Fault | None] = []
        self.model = Model(LIMITS)
        empty_tables()
        with transaction() as session:
            session.add_all(tenant_of(id_, limit) for id_, limit in LIMITS.items())
            session.flush()
            session.add_all(webhook_of(id_) for id_ in LIMITS)
        for each in wanted:
            self.accept(each)
        return multiple(*self.model.jobs)

    @precondition(lambda self: self.model.open and not self.faults)
    @rule(fault=st.sampled_from(Fault), after=st.integers(0, 2))
    def a_transaction_will_be_lost(self, fault: Fault, after: int) -> None:
        self.faults = [None] * after + [fault]

    def transaction(self) -> AbstractContextManager[Session]:
        """A transaction of a service."""
        return losing(self.faults.pop(0) if self.faults else None)

    @when(lambda model: len(model.open) < MOST_OPEN)
    @step(target=JOBS, wanted=WANTED)
    def a_job_is_accepted(self, wanted: Wanted) -> None:
        self.accept(wanted)

    def accept(self, wanted: Wanted) -> None:
        row = row_of(f"job-{len(self.model.jobs)}", wanted)
        new = [NewItem(f'{{"n": {n}}}', None, key, n) for key, n in wanted.items]
        with self.transaction() as session:
            session.add(row)
            add_items(session, row, new)
            ids = give_past(session, row.id, wanted)
        self.model.jobs.append(job_of(row, wanted, ids))

    @when(lambda model: model.has_work)
    @step(target=LEASES, lane=LANES, count=COUNTS)
    def a_worker_claims(self, lane: Lane, count: int) -> None:
        self.claim(lane, count)

    @when(lambda model: model.has_work)
    @step(target=LEASES, lane=LANES, count=COUNTS, meanwhile=MEANWHILE, reports=REPORTS)
    def a_worker_claims_and_commits(
        self, lane: Lane, count: int, meanwhile: Order | None, reports: list[Report]
    ) -> None:
        for lease in self.claim(lane, count):
            self.interfere(lease, meanwhile)
            self.commit(lease, lease.items, reports)

    @when(lambda model: model.has_work)
    @step(target=LEASES, lane=LANES, count=COUNTS, meanwhile=MEANWHILE)
    def a_worker_claims_and_dies(self, lane: Lane, count: int, meanwhile: Order | None) -> None:
        for lease in self.claim(lane, count):
            self.interfere(lease, meanwhile)
            self.run_out(lease)
            self.recover(lease)

    # Rules are drawn evenly. What moves all the others has two names.
    a_worker_claims_again = a_worker_claims
    a_worker_claims_and_commits_again = a_worker_claims_and_commits
    a_worker_claims_and_dies_again = a_worker_claims_and_dies

    def claim(self, lane: Lane, count: int) -> list[Lease]:
        """The new lease, or none."""
        with self.transaction() as session:
            found = claim(session, lane, "worker", count)
        by_id = {item.id: item for item in self.model.items}
        lease = Lease(found.token, lane, [by_id[item.id] for item in found.items])
        check_claim(self.model, lane, count, lease.items)
        if lease.items:
            self.model.claim(lease)
        assert found.more or not self.model.claimable(lane), "nobody comes for the rest"
        return [lease] if lease.items else []

    @when(lambda model: model.has(ItemState.RUNNING))
    @step(lease=HELD | LEASES)
    def a_worker_renews(self, lease: Lease) -> None:
        with self.transaction() as session:
            assert leases.stop_flag(session, lease.token) is self.model.stop(lease)
            assert leases.renew(session, lease.token, Stage.FORWARD) is bool(lease.held)
        lease.ran_out = False

    @when(lambda model: model.has(ItemState.RUNNING))
    @step(lease=HELD, reports=REPORTS)
    def a_worker_commits(self, lease: Lease, reports: list[Report]) -> None:
        self.commit(lease, lease.items, reports)

    a_worker_commits_again = a_worker_commits

    @when(lambda model: model.has_work and model.has(ItemState.RUNNING))
    @step(target=LEASES, lane=LANES, count=COUNTS, other=HELD, reports=REPORTS)
    def a_worker_claims_and_commits_what_another_claimed(
        self, lane: Lane, count: int, other: Lease, reports: list[Report]
    ) -> None:
        for lease in self.claim(lane, count):
            self.commit(lease, other.items, reports)

    @when(lambda model: model.has(ItemState.RUNNING))
    @step(lease=LEASES, other=HELD | LEASES, reports=REPORTS)
    def a_worker_commits_after_all(self, lease: Lease, other: Lease, reports: list[Report]) -> None:
        """Under a lease that may be gone, items that may be another's by now."""
        self.commit(lease, other.items, reports)

    def commit(self, lease: Lease, items: Sequence[Item], reports: Sequence[Report]) -> None:
        said = {
            item: report
            for item, report in zip(items, reports, strict=False)
            if report is not Report.NOTHING
        }
        held = {item: report for item, report in said.items() if item.lease is lease}
        with self.transaction() as session:
            results = [result_of(item, report) for item, report in said.items()]
            committed = commit(session, lease.token, results)
        assert committed.items == {item.id for item in held}
        lease.commit(held)

    @when(lambda model: model.has(ItemState.RUNNING))
    @rule(lease=HELD)
    def a_lease_runs_out(self, lease: Lease) -> None:
        self.run_out(lease)

    def run_out(self, lease: Lease) -> None:
        execute(f"UPDATE leases SET expires_at = {PAST} WHERE token = '{lease.token}'")
        lease.ran_out = True

    @when(lambda model: model.late or model.overdue)
    @step(lease=LEASES, job=JOBS)
    def a_sweeper_passes(self, lease: Lease, job: Job) -> None:
        """It sees what is due, and a lease and a job with which another sweeper was faster."""
        late, overdue = self.model.late, self.model.overdue
        with reading() as session:
            assert set(sweep.expired_leases(session)) == {each.token for each in late}
            assert set(expire.overdue_jobs(session)) == {each.id for each in overdue}
        for each in [*late, lease]:
            self.recover(each)
        for each in [*overdue, job]:
            self.expire(each)

    def recover(self, lease: Lease) -> None:
        lane = lease.lane if lease.late else None
        with self.transaction() as session:
            assert sweep.recover(session, lease.token) is lane
        if lease.late:
            lease.crash()

    def expire(self, job: Job) -> None:
        with self.transaction() as session:
            expire.expire(session, job.id)
        job.expire()

    @step(job=JOBS, order=ORDERS)
    def a_client_orders(self, job: Job, order: Order) -> None:
        self.order(job, order)

    def order(self, job: Job, order: Order) -> None:
        with refused(unless=job.allows(order)), self.transaction() as session:
            SERVICES[order](session, job.tenant, job.id)
        job.obey(order)

    def interfere(self, lease: Lease, order: Order | None) -> None:
        """A client has an order for what just runs."""
        if order is not None:
            self.order(lease.items[0].job, order)

    @when(lambda model: model.has_work or model.paused)
    @step(lane=LANES, paused=st.sampled_from([True, False, False]))
    def a_lane_is_paused_or_resumed(self, lane: Lane, paused: bool) -> None:
        with self.transaction() as session:
            (pause.pause_lane if paused else pause.resume_lane)(session, lane)
        (self.model.paused.add if paused else self.model.paused.discard)(lane)

    @when(lambda model: model.has(ItemState.FAILED))
    @step(job=FAILING)
    def all_that_failed_for_one_reason_is_retried(self, job: Job) -> None:
        reason = next(item.reason for item in job.items if item.reason)
        theirs = [item for item in self.model.items if item.job.tenant == job.tenant]
        failed = [item for item in theirs if item.reason == reason]
        self.retry_failed(job.tenant, failures.Filter(reason=reason), failed)

    @when(lambda model: model.has(ItemState.FAILED))
    @step(job=FAILING, place=st.integers(0, 5))
    def one_item_is_retried(self, job: Job, place: int) -> None:
        item = job.items[place % len(job.items)]
        failed = [item] if item.state is ItemState.FAILED else []
        self.retry_failed(job.tenant, failures.Filter(item_id=item.id), failed)

    def retry_failed(self, tenant: str, only: failures.Filter, failed: Sequence[Item]) -> None:
        again = [item for item in failed if item.job.state is not JobState.CANCELLING]
        with self.transaction() as session:
            assert retries.retry_failed(session, tenant, only).items == len(again)
        for job in {item.job for item in again}:
            job.repeat([item for item in again if item.job is job])

    @when(lambda model: any(job.is_dated for job in model.jobs))
    @rule(job=JOBS.filter(lambda job: job.is_dated))
    def a_deadline_passes(self, job: Job) -> None:
        execute(f"UPDATE jobs SET deadline = {PAST} WHERE id = '{job.id}'")
        job.ran_out = True

    @when(lambda model: not all(item.available for item in model.items))
    @rule()
    def every_pause_is_over(self) -> None:
        execute("UPDATE queue SET available_at = now()")
        for item in self.model.items:
            item.available = True

    @invariant()
    def the_database_is_as_the_model_says_and_sound(self) -> None:
        with reading() as session:
            check_rows(session, self.model)
            assert faults(session) == {}


@pytest.fixture
def standing_clock(installation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No lease and no pause runs out by itself."""
    monkeypatch.setattr("shared.services.ledger.requeue._FIRST_PAUSE_S", 1200.0)
    monkeypatch.setenv("ATELIER_LEASE_SECONDS", "3600")
    forget_settings()


# A failure is made small before it is shown, which may take Hypothesis five minutes.
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("standing_clock")
def test_the_ledger_does_what_its_model_does() -> None:
    run_state_machine_as_test(
        Ledger,
        settings=settings(
            max_examples=45,
            stateful_step_count=80,
            deadline=None,
            # The same steps each time, so that a red build is the change's doing.
            derandomize=True,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
