"""Limits of items in flight, under claims at the same time: what is too much goes back."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.db import transaction
from shared.services import jobs
from shared.services.ledger import in_flight
from shared.services.ledger.claim import claim
from shared.states import Lane
from tests.ledger import (
    add_other_tenant,
    assert_sound,
    execute,
    finish,
    look,
    somebody_waits_for_a_lock,
    submit,
    take,
)
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("stand_in")

LIMIT = 3


@pytest.fixture
def limited() -> str:
    """A tenant of which only so many items may run at once."""
    return add_other_tenant("limited", max_running=LIMIT)


def test_one_who_had_looked_before_the_other_counted_puts_back_what_is_too_much(
    limited: str,
) -> None:
    job = submit(limited, [{}] * 8)
    with ThreadPoolExecutor(1) as thread:
        with transaction() as session:
            first = claim(session, Lane.TEXT, "worker", 2)
            late = thread.submit(take, 3)
            until(somebody_waits_for_a_lock)
        second = late.result()

    assert [item.seq for item in first.items] == [0, 1]
    assert [item.seq for item in second.items] == [2], "the first of those that it had taken"
    assert look(job).running == LIMIT
    assert_sound()


def test_one_who_puts_all_back_has_no_lease_and_started_nothing(limited: str) -> None:
    running, other = submit(limited, [{}] * LIMIT), submit(limited, [{}] * 2)
    with ThreadPoolExecutor(1) as thread:
        with transaction() as session:
            first = claim(session, Lane.TEXT, "worker", LIMIT)
            late = thread.submit(take)
            until(somebody_waits_for_a_lock)
        second = late.result()

    assert (len(first.items), len(second.items), second.more) == (LIMIT, 0, False)
    assert (look(running).state, look(other).state) == ("running", "queued")
    assert started() == {item.id for item in first.items}
    assert_sound()
    finish(first)
    assert [(item.job_id, item.attempt) for item in take().items] == [(other.id, 1)] * 2


def test_what_was_paused_meanwhile_goes_back_out_of_the_queue(
    limited: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, paused = submit(limited, [{}] * LIMIT), submit(limited, [{}] * 2)
    take_first = in_flight.lock_jobs

    def pause_first(session: Session, ids: Iterable[str]) -> None:
        with transaction() as other:
            jobs.pause(other, limited, paused.id)
        execute("UPDATE tenants SET max_running = 0 WHERE name = 'limited'")
        take_first(session, ids)

    finish(take(LIMIT))
    with monkeypatch.context() as patch:
        patch.setattr(in_flight, "lock_jobs", pause_first)
        assert not take().items

    assert look(running).state == "succeeded"
    assert (look(paused).state, look(paused).queued) == ("paused", 2)
    assert_sound()


def started() -> set[int]:
    """The items that have ever run."""
    with transaction() as session:
        ids = text("SELECT id FROM items WHERE started_at IS NOT NULL")
        return set(session.execute(ids).scalars())
