"""Leases as workers hold them: a stage that hangs beyond its budget loses its own."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from uuid import uuid4

import pytest
from sqlalchemy import text

from shared.db import reading, transaction
from shared.errors import Stopped
from shared.services.ledger import sweep
from shared.services.ledger.claim import Claim
from shared.states import Lane, Stage, Stop
from shared.tables.tenant import Tenant
from tests.ledger import assert_sound, execute, finish, submit, take
from tests.settings import forget_settings
from tests.waiting import until
from worker import lease as worker_lease
from worker.lease import BUDGET_S, Keeper, Lease


class TestBudgets:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
        """A clock of which `now` is set by hand."""
        made = SimpleNamespace(now=1000.0)
        made.monotonic = lambda: made.now
        monkeypatch.setattr(worker_lease, "time", made)
        return made

    @pytest.fixture
    def lease(self, clock: SimpleNamespace) -> Lease:
        return Lease(uuid4(), Keeper(lambda: None))

    @pytest.mark.parametrize("stage", Stage)
    def test_each_stage_has_one_and_moves_until_it_is_spent(
        self, lease: Lease, clock: SimpleNamespace, stage: Stage
    ) -> None:
        lease.enter(stage)

        clock.now += BUDGET_S[stage] - 1
        assert lease.moves()

        clock.now += 1
        assert not lease.moves()

    @pytest.mark.parametrize(
        "sign",
        [
            Lease.touch,
            Lease.should_stop,
            lambda lease: lease.progress(0.5),
            lambda lease: lease.enter(Stage.FORWARD),
        ],
        ids=["touch", "asks whether to stop", "progress", "next stage"],
    )
    def test_a_sign_of_work_gives_it_anew(
        self, lease: Lease, clock: SimpleNamespace, sign: Callable[[Lease], object]
    ) -> None:
        lease.enter(Stage.FORWARD)
        clock.now += BUDGET_S[Stage.FORWARD]

        sign(lease)

        clock.now += BUDGET_S[Stage.FORWARD] - 1
        assert lease.moves()


@pytest.mark.usefixtures("stand_in")
class TestKeeper:
    @pytest.fixture
    def keeper(self, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
        """One that renews often; leases in the forward pass are beyond their budget at once."""
        monkeypatch.setenv("ATELIER_RENEW_SECONDS", "0.01")
        monkeypatch.setenv("ATELIER_STOP_POLL_SECONDS", "0.01")
        forget_settings()
        monkeypatch.setitem(BUDGET_S, Stage.FORWARD, 0.0)
        made = Keeper(lambda: None)
        made.start()
        yield made
        made.stop()
        monkeypatch.undo()
        forget_settings()

    def test_a_lease_whose_stage_hangs_runs_out_and_another_worker_has_its_item(
        self, tenant: Tenant, keeper: Keeper
    ) -> None:
        submit(tenant.id, [{}] * 2)
        found, beside = take(1), take(1)
        hung, moving = hold(keeper, found, Stage.FORWARD), hold(keeper, beside, Stage.STORE)
        execute("UPDATE leases SET expires_at = now() - interval '1 second'")

        until(lambda: late_leases() == [hung.token], within_s=10)
        with transaction() as session:
            assert sweep.recover(session, hung.token) is Lane.TEXT
        assert until(lambda: hung.stop) is Stop.SHUTDOWN
        with pytest.raises(Stopped):
            hung.check()

        again = take()
        assert [(item.id, item.crashes) for item in again.items] == [(found.items[0].id, 1)]
        assert finish(found) == set(), "what the hung worker may still bring is refused"
        assert moving.stop is None
        assert (len(finish(again)), len(finish(beside))) == (1, 1)
        assert_sound()

    def test_one_that_moves_again_in_time_is_kept(self, tenant: Tenant, keeper: Keeper) -> None:
        submit(tenant.id, [{}])
        lease = hold(keeper, take(), Stage.FORWARD)
        execute("UPDATE leases SET expires_at = now() - interval '1 second'")

        lease.enter(Stage.ENCODE)

        until(lambda: late_leases() == [])
        assert stages() == [Stage.ENCODE]
        assert lease.stop is None


def hold(keeper: Keeper, found: Claim, stage: Stage) -> Lease:
    """Have a claim's lease kept while it is in a stage."""
    lease = Lease(found.token, keeper)
    lease.enter(stage)
    lease.hold()
    return lease


def late_leases() -> list[object]:
    with reading() as session:
        return list(sweep.expired_leases(session))


def stages() -> list[str]:
    """What the leases say that they are in."""
    with reading() as session:
        return list(session.execute(text("SELECT stage FROM leases")).scalars())
