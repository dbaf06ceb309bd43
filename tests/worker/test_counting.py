"""Metrics of what goes wrong rise by what happened, and by no more."""

import pytest
from redis import Redis

from shared.db import rehearsal, transaction
from shared.metrics import REGISTRY
from shared.queues import hint
from shared.services import retries
from shared.services.failures import Filter
from shared.services.ledger.claim import Claim
from shared.services.ledger.commit import Done
from shared.settings import settings
from shared.states import Lane
from shared.tables.tenant import Tenant
from tests.ledger import assert_sound, execute, release, submit, take
from tests.settings import forget_settings
from tests.waiting import until
from worker.lease import Keeper, Lease
from worker.runner import drain
from worker.sweeper import recover_leases
from worker.writing import write

pytestmark = pytest.mark.usefixtures("stand_in")


class Counts:
    """How far samples of this process have risen since this was made."""

    def __init__(self) -> None:
        self._before = self._all()

    def __call__(self, name: str, **labels: str) -> float:
        key = (name, frozenset(labels.items()))
        return self._all().get(key, 0.0) - self._before.get(key, 0.0)

    def retries(self) -> dict[str, float]:
        """Items of lane `text` that are to run again, by reason."""
        risen = {
            reason: self("atelier_retries_total", lane="text", reason=reason)
            for reason in ("error", "crash", "user")
        }
        return {reason: count for reason, count in risen.items() if count}

    def became(self) -> dict[str, float]:
        """What became of items of lane `text`."""
        risen = {
            state: self("atelier_items_total", lane="text", became=state)
            for state in ("done", "failed", "cancelled", "queued")
        }
        return {state: count for state, count in risen.items() if count}

    def _all(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in REGISTRY.collect()
            for sample in family.samples
        }


@pytest.fixture
def risen(tenant: Tenant) -> Counts:
    return Counts()


def crash(found: Claim) -> None:
    """Have the sweeper find that a claim's worker is gone."""
    execute("UPDATE leases SET expires_at = now() - interval '1 second'")
    recover_leases()
    execute("UPDATE queue SET available_at = now()")


def lease_of(found: Claim) -> Lease:
    return Lease(found.token, Keeper(lambda: None))


def test_items_that_crash_their_workers_are_retries_until_they_have_failed(
    tenant: Tenant, risen: Counts
) -> None:
    submit(tenant.id, [{}] * 2)
    crash(take())

    assert (risen.became(), risen.retries()) == ({"queued": 2}, {"crash": 2})

    for _ in range(3):
        crash(take())

    assert risen.became() == {"queued": 4, "failed": 2}
    assert risen.retries() == {"crash": 4}
    # Twice together, and from then on each alone.
    assert risen("atelier_crashed_leases_total", lane="text") == 4
    assert_sound()


def test_an_error_is_a_retry_until_its_attempts_are_spent(tenant: Tenant, risen: Counts) -> None:
    submit(tenant.id, [{"fault": "raise"}, {"fault": "refuse"}, {}])
    for _ in range(settings().max_attempts):
        drain(Lane.TEXT)
        execute("UPDATE queue SET available_at = now()")

    again = settings().max_attempts - 1
    assert risen.retries() == {"error": again}
    assert risen.became() == {"queued": again, "failed": 2, "done": 1}


def test_what_is_given_back_is_no_retry(tenant: Tenant, risen: Counts) -> None:
    submit(tenant.id, [{"fault": "raise"}] * 3)
    release(take())

    assert risen.retries() == {}


def test_what_a_user_asks_for_again_is_counted_once_it_is_certain(
    tenant: Tenant, risen: Counts
) -> None:
    job = submit(tenant.id, [{"fault": "refuse"}] * 3)
    drain(Lane.TEXT)
    drain(Lane.LIGHT)

    with rehearsal() as session:
        retries.retry(session, tenant.id, job.id)
    assert risen.retries() == {}

    with transaction() as session:
        retries.retry(session, tenant.id, job.id)
    assert risen.retries() == {"user": 3}

    drain(Lane.TEXT)
    with transaction() as session:
        retries.retry_failed(session, tenant.id, Filter(job_id=job.id))
    assert risen.retries() == {"user": 6}


def test_a_commit_without_its_lease_is_counted_as_fenced_and_as_nothing_else(
    tenant: Tenant, risen: Counts
) -> None:
    submit(tenant.id, [{}])
    late = take()
    crash(late)

    write(lease_of(late), [Done(late.items[0].id)])

    assert risen("atelier_fenced_commits_total") == 1
    assert risen("atelier_commits_total") == 0
    assert risen.became() == {"queued": 1}


def test_renewals_are_counted_while_a_lease_is_held(
    tenant: Tenant, risen: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_RENEW_SECONDS", "0.05")
    monkeypatch.setenv("ATELIER_STOP_POLL_SECONDS", "0.05")
    forget_settings()
    submit(tenant.id, [{}])
    keeper = Keeper(lambda: None)
    lease = Lease(take().token, keeper)
    keeper.start()
    try:
        lease.hold()
        until(lambda: risen("atelier_lease_renewals_total") >= 3)
    finally:
        keeper.stop()


def test_a_hint_is_counted_when_redis_has_it(tenant: Tenant, risen: Counts) -> None:
    hint(Lane.AUDIO)

    until(lambda: risen("atelier_hints_total", lane="audio") == 1)
    with Redis.from_url(settings().required("redis_url")) as redis:
        assert redis.llen("atelier:audio") == 1
