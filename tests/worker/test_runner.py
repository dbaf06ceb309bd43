"""The runner in this process, with a stand-in family: results, errors, stops, storage faults."""

from collections.abc import Callable, Iterator
from mmap import mmap
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import text

from shared.db import transaction
from shared.errors import StorageUnavailable
from shared.services import items, jobs, outputs
from shared.services.ledger.claim import Claim, claim
from shared.services.pages import Cursor
from shared.states import Lane
from shared.storage import read
from shared.tables.job import Job
from shared.tables.output import Output
from shared.tables.tenant import Tenant
from tests.ledger import assert_sound, submit
from tests.waiting import until
from worker import identity
from worker.runner import drain


@pytest.fixture(autouse=True)
def _model(stand_in: str) -> None:
    """Every test here has the stand-in's model."""


def run(tenant: Tenant, params: list[dict[str, Any]]) -> Job:
    job = submit(tenant.id, params)
    drain(Lane.TEXT)
    with transaction() as session:
        return jobs.get(session, tenant.id, job.id)


def outputs_of(job: Job) -> list[Output]:
    with transaction() as session:
        only = outputs.Filter(job_id=job.id)
        page = outputs.list_outputs(session, job.tenant_id, Cursor(limit=100, order="asc"), only)
        return list(page.rows)


def test_every_item_gets_its_outputs_with_hash_and_record(tenant: Tenant) -> None:
    job = run(tenant, [{"seed": seed, "n": 2} for seed in range(40)])

    assert (job.state, job.done) == ("succeeded", 40)
    made = outputs_of(job)
    assert len(made) == 80
    for output in made:
        content = read(output.key)
        assert content == f"seed {output.seed}".encode()
        assert output.key.endswith(output.sha256)
        assert output.bytes == len(content)
        assert output.provenance["model"] == "stand-in@1"
        assert output.provenance["code_version"]
    assert_sound()


def test_a_turn_goes_on_after_a_claim_that_had_to_put_all_back(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    found_none = [Claim(Lane.TEXT, [], more=True)]

    def claim_late(*wanted: Any) -> Claim:
        return found_none.pop() if found_none else claim(*wanted)

    monkeypatch.setattr("worker.runner.claim", claim_late)

    assert run(tenant, [{}]).state == "succeeded"


def test_a_refused_item_fails_alone_and_is_not_tried_again(tenant: Tenant) -> None:
    job = run(tenant, [{}, {"fault": "refuse"}, {}])

    assert (job.state, job.done, job.failed) == ("partial", 2, 1)
    with transaction() as session:
        (item,) = items.undone_items(session, job)
    assert item.error == {"code": "invalid_value", "message": "seed: refused", "param": "seed"}
    assert item.attempt == 1
    assert_sound()


def test_an_item_that_raises_does_not_fail_its_neighbours(tenant: Tenant) -> None:
    job = run(tenant, [{}] * 7 + [{"fault": "raise"}] + [{}] * 8)

    assert (job.done, job.queued) == (15, 1)
    assert_sound()


def test_a_batch_too_large_for_the_memory_is_halved_until_it_fits(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    job = run(tenant, [{"fault": "memory"}] * 16)

    assert (job.state, job.done) == ("succeeded", 16)
    assert [record.args[0] for record in caplog.records if "halves" in record.message] == [16, 8, 8]
    with transaction() as session:
        assert session.execute(text("SELECT DISTINCT attempt FROM items")).scalars().all() == [1]
    assert_sound()


def test_an_item_that_raised_once_is_done_at_its_second_attempt(
    tenant: Tenant, tmp_path: Path
) -> None:
    job = run(tenant, [{"fault": f"once:{tmp_path / 'marker'}"}])
    assert job.queued == 1
    with transaction() as session:
        session.execute(text("UPDATE queue SET available_at = now()"))
    drain(Lane.TEXT)

    with transaction() as session:
        assert jobs.get(session, tenant.id, job.id).state == "succeeded"
    assert_sound()


def test_while_the_storage_is_down_items_are_released_without_an_attempt_spent(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Down:
        def put(self, *_: Any, **__: Any) -> None:
            raise StorageUnavailable

    with monkeypatch.context() as down:
        down.setattr("worker.media.storage", Down)
        job = run(tenant, [{}, {}])
    assert (job.done, job.queued) == (0, 2)
    with transaction() as session:
        session.execute(text("UPDATE queue SET available_at = now()"))
    drain(Lane.TEXT)

    with transaction() as session:
        ended = jobs.get(session, tenant.id, job.id)
        attempts = session.execute(text("SELECT max(attempt) FROM items")).scalar_one()
    assert (ended.state, attempts) == ("succeeded", 1)
    assert_sound()


@pytest.fixture
def fast_stop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stop flags are read every tenth of a second."""
    monkeypatch.setenv("ATELIER_STOP_POLL_SECONDS", "0.1")
    from shared.settings import settings

    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def told_to_end(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What the parent calls on SIGTERM; with the test it is forgotten."""
    monkeypatch.setattr(identity, "_ending", mmap(-1, 1))
    return identity.end


@pytest.mark.usefixtures("fast_stop")
def test_told_to_end_while_it_claims_it_lets_go_of_that_and_claims_nothing_more(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, told_to_end: Callable[[], None]
) -> None:
    claims = 0

    def claim_and_be_told(*wanted: Any) -> Claim:
        nonlocal claims
        claims += 1
        if claims == 2:
            told_to_end()
        return claim(*wanted)

    monkeypatch.setattr("worker.runner.claim", claim_and_be_told)

    job = run(tenant, [{"seconds": 0.05}] * 64)

    assert claims == 2
    assert job.queued >= 32
    assert job.done + job.queued == 64
    with transaction() as session:
        attempts = dict(
            session.execute(text("SELECT state, max(attempt) FROM items GROUP BY state")).all()
        )
    assert attempts["queued"] == 0
    assert_sound()


@pytest.mark.usefixtures("fast_stop")
def test_told_to_end_before_its_turn_it_claims_nothing(
    tenant: Tenant, told_to_end: Callable[[], None]
) -> None:
    told_to_end()

    assert run(tenant, [{}]).queued == 1


@pytest.mark.usefixtures("fast_stop")
def test_a_cancelled_job_stops_while_its_items_run(tenant: Tenant) -> None:
    job = submit(tenant.id, [{"seconds": 30}])
    running = Thread(target=drain, args=(Lane.TEXT,), daemon=True)
    running.start()
    await_state(tenant, job, "running")
    with transaction() as session:
        jobs.cancel(session, tenant.id, job.id)
    running.join(timeout=5)

    assert not running.is_alive()
    with transaction() as session:
        ended = jobs.get(session, tenant.id, job.id)
    assert (ended.state, ended.cancelled) == ("cancelled", 1)
    assert_sound()


def await_state(tenant: Tenant, job: Job, state: str) -> None:
    def is_there() -> bool:
        with transaction() as session:
            return jobs.get(session, tenant.id, job.id).state == state

    until(is_there)
