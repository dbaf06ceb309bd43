"""A worker's COMMIT that Postgres did, and of which the worker never hears."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from shared import metrics
from shared.db import transaction
from shared.storage import storage
from shared.tables.tenant import Tenant
from tests.chaos import scenarios
from tests.chaos.breaking import Scenario
from tests.chaos.soundness import all_faults, changes, watching

STORIES = [
    scenarios.a_job_runs,
    scenarios.one_of_a_batch_ends_before_the_others,
    scenarios.a_lost_worker_comes_back,
    scenarios.a_lost_worker_comes_back_while_another_runs_its_items,
    scenarios.a_worker_ends_its_items_though_their_job_was_cancelled,
    scenarios.an_item_always_raises,
    scenarios.a_job_is_retried,
    scenarios.a_trainings_file_cannot_be_prepared,
]


@contextmanager
def transaction_with_lost_answer() -> Iterator[Session]:
    """Commits; then tells what psycopg tells when the connection ends before the answer comes."""
    with transaction() as session:
        yield session
    lost = ConnectionError("server closed the connection unexpectedly")
    raise OperationalError("COMMIT", None, lost, connection_invalidated=True)


@pytest.fixture
def answers_lost(stand_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker hears of a commit that changed anything."""
    monkeypatch.setattr("worker.writing.transaction", transaction_with_lost_answer)
    monkeypatch.setattr("worker.writing._PAUSE_S", 0.0)


@pytest.mark.usefixtures("answers_lost")
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_nothing_is_lost_or_done_twice(story: Scenario, tenant: Tenant) -> None:
    with watching():
        story(tenant)
        assert changes() == {}
    assert all_faults(storage()) == {}


@pytest.mark.usefixtures("answers_lost")
def test_the_worker_tries_again_and_finds_its_lease_gone(tenant: Tenant) -> None:
    fenced, commits = count_of(metrics.FENCED), count_of(metrics.COMMITS)

    scenarios.a_job_runs(tenant)

    assert (count_of(metrics.FENCED), count_of(metrics.COMMITS)) == (fenced + 1, commits)
    assert rows("SELECT state, done FROM jobs") == [("succeeded", 3)]
    assert rows("SELECT attempt FROM items") == [(1,)] * 3
    assert rows("SELECT count(*) FROM outputs") == [(6,)]
    assert rows("SELECT type FROM webhook_events") == [("job.completed",)]


def count_of(counter: metrics.Counter) -> float:
    return float(counter._value.get())


def rows(query: str) -> list[tuple[object, ...]]:
    with transaction() as session:
        return [tuple(row) for row in session.execute(text(query))]
