"""Usage: every commit counts once, on its day, and what was counted outlives the jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.db import transaction
from shared.errors import Invalid
from shared.ids import new_id
from shared.services import retention, usage
from shared.services.ledger.commit import Done, Failed, NewOutput, Released, commit
from shared.services.usage import Group, Period
from shared.tables.job import Job
from shared.tables.tenant import Tenant
from tests.ledger import assert_sound, execute, faults, look, submit, take
from tests.settings import forget_settings

pytestmark = pytest.mark.usefixtures("stand_in")

TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)
KEY = "key_a"
TOLD = {"prompt_tokens": 5, "completion_tokens": 7}
ENTERED = "INSERT INTO usage_entries (tenant_id, day, key_id, kind, compute_seconds, cost, "


def output(index: int = 0, **facts: Any) -> NewOutput:
    return NewOutput(index, "text/plain", f"key {index}", 10, "0" * 64, 1, facts, {}, {})


def told(tenant: Tenant, *groups: Group) -> list[Any]:
    """A report of yesterday and today, should it be midnight tomorrow too."""
    period = Period(YESTERDAY, TODAY + timedelta(days=1))
    with transaction() as session:
        return list(usage.report(session, tenant.id, period, groups or [Group.KEY]))


def sum_up() -> None:
    with transaction() as session:
        usage.sum_up(session)


def entries() -> int:
    with transaction() as session:
        return session.execute(text("SELECT count(*) FROM usage_entries")).scalar_one()


@contextmanager
def committed(count: int = 16) -> Iterator[tuple[list[int], list[Any]]]:
    """What waits is claimed; the block says what became of each."""
    found = take(count)
    results: list[Any] = []
    yield [item.id for item in found.items], results
    with transaction() as session:
        commit(session, found.token, results)


def run(tenant: Tenant, key: str | None = KEY, items: int = 2, seconds: float = 1.5) -> Job:
    """A job whose items are done, each with one output."""
    job = submit(tenant.id, [{}] * items, key_id=key)
    with committed() as (ids, results):
        results += [Done(id_, [output(**TOLD)], seconds) for id_ in ids]
    return job


def test_a_report_tells_what_commits_entered_before_and_after_it_is_summed_up(
    tenant: Tenant,
) -> None:
    run(tenant)

    for _ in range(2):
        (row,) = told(tenant)
        assert (row.key_id, row.compute_seconds, row.cost) == (KEY, 3.0, 2.0)
        assert (row.items_done, row.items_failed) == (2, 0)
        assert (row.outputs, row.bytes, row.input_tokens, row.output_tokens) == (2, 20, 10, 14)
        sum_up()
    assert entries() == 0
    assert_sound()


def test_a_prompt_with_several_continuations_is_read_once(tenant: Tenant) -> None:
    submit(tenant.id, [{"n": 2}], key_id=KEY)

    with committed() as ([id_], results):
        results.append(Done(id_, [output(0, **TOLD), output(1, **TOLD)]))

    (row,) = told(tenant)
    assert (row.input_tokens, row.output_tokens) == (5, 14)


def test_what_failed_and_what_was_given_back_took_its_seconds_too(tenant: Tenant) -> None:
    job = submit(tenant.id, [{}] * 3, key_id=KEY)

    with committed() as (ids, results):
        results.append(Failed(ids[0], {"code": "internal", "message": "no"}, seconds=1.0))
        results.append(Failed(ids[1], {"code": "internal", "message": "no"}, True, seconds=2.0))
        results.append(Released(ids[2], seconds=4.0))

    (row,) = told(tenant)
    assert (row.items_done, row.items_failed) == (0, 1)
    assert (row.compute_seconds, row.cost) == (7.0, 0.0)
    assert look(job).compute_seconds == 7.0


def test_an_item_that_crashed_its_worker_too_often_has_failed(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.services.ledger import sweep

    monkeypatch.setenv("ATELIER_MAX_CRASHES", "1")
    forget_settings()
    submit(tenant.id, [{}], key_id=KEY)
    found = take()
    execute("UPDATE leases SET expires_at = now() - interval '1 second'")

    with transaction() as session:
        sweep.recover(session, found.token)

    (row,) = told(tenant)
    assert (row.items_done, row.items_failed) == (0, 1)


def test_a_fenced_commit_is_not_counted(tenant: Tenant) -> None:
    submit(tenant.id, [{}], key_id=KEY)
    found = take()
    execute("DELETE FROM leases")

    with transaction() as session:
        commit(session, found.token, [Done(found.items[0].id, [output()], 1.0)])

    assert told(tenant) == []


def test_rows_are_told_apart_by_what_is_asked_for(tenant: Tenant) -> None:
    run(tenant, "key_a")
    run(tenant, "key_b")
    sum_up()
    execute(f"UPDATE usage SET day = '{YESTERDAY}' WHERE key_id = 'key_b'")

    by_all = told(tenant, Group.KEY, Group.DAY, Group.MODEL)
    by_model = told(tenant, Group.MODEL)

    assert [(row.day, row.model, row.key_id) for row in by_all] == [
        (YESTERDAY, "stand-in", "key_b"),
        (TODAY, "stand-in", "key_a"),
    ]
    assert [(row.day, row.model, row.key_id, row.items_done) for row in by_model] == [
        (None, "stand-in", None, 4)
    ]


def test_another_tenants_usage_is_not_told(tenant: Tenant) -> None:
    run(tenant)
    other = Tenant(id="tenant_other", name="other")

    assert told(other) == []


def test_usage_stays_when_retention_deletes_the_job(tenant: Tenant) -> None:
    job, kept = run(tenant), run(tenant)
    before = told(tenant, *Group)
    with transaction() as session:
        retention.forget_items(session, job.id)
    with transaction() as session:
        retention.forget_job(session, job.id)

    assert told(tenant, *Group) == before
    assert before[0].items_done == look(kept).done * 2
    assert_sound()


def test_it_is_what_a_recount_of_the_jobs_gives(tenant: Tenant) -> None:
    for seconds in (0.1, 0.2, 0.3):
        run(tenant, items=3, seconds=seconds)
        sum_up()
    with transaction() as session:
        recount = session.execute(
            text("""
            SELECT sum(compute_seconds) AS compute_seconds, sum(cost) AS cost,
                sum(done) AS items_done, sum(failed) AS items_failed, sum(outputs) AS outputs,
                sum(bytes) AS bytes
            FROM jobs JOIN (SELECT job_id, count(*) AS outputs, sum(bytes) AS bytes
                FROM outputs GROUP BY job_id) made ON made.job_id = jobs.id""")
        ).one()

    (row,) = told(tenant)

    for name, number in recount._mapping.items():
        assert float(getattr(row, name)) == pytest.approx(float(number)), name


@pytest.mark.parametrize("lost", ["compute_seconds", "items_done"])
def test_usage_that_was_lost_breaks_an_invariant(tenant: Tenant, lost: str) -> None:
    run(tenant)
    sum_up()
    assert_sound()

    execute(f"UPDATE usage SET {lost} = {lost} - 1")

    with transaction() as session:
        (found,) = faults(session)
    assert found.startswith("what a key's jobs used is in its usage")


def test_sweepers_that_sum_up_at_once_count_everything_once(tenant: Tenant) -> None:
    execute(
        ENTERED + "items_done, items_failed, outputs, bytes, input_tokens, output_tokens) "
        f"SELECT '{tenant.id}', current_date, 'key_' || number % 7, 'generation', 1, 1, "
        "1, 0, 1, 10, 0, 0 FROM generate_series(1, 50000) AS number"
    )

    def sweep() -> None:
        more = True
        while more:
            with transaction() as session:
                more = usage.sum_up(session)

    sweepers = [Thread(target=sweep) for _ in range(3)]
    for sweeper in sweepers:
        sweeper.start()
    for sweeper in sweepers:
        sweeper.join()

    assert entries() == 0
    rows = told(tenant)
    assert len(rows) == 7
    assert sum(row.items_done for row in rows) == 50_000


def test_entries_of_a_tenant_that_is_gone_hold_up_nobody(tenant: Tenant) -> None:
    run(tenant)
    execute("INSERT INTO usage_entries SELECT 'tenant_gone', id, day, key_id, kind, family, model, "
            "model_version_id, 1, 1, 1, 0, 1, 1, 0, 0 FROM usage_entries")  # fmt: skip

    sum_up()

    assert entries() == 0
    assert told(tenant)[0].items_done == 2


@pytest.mark.parametrize(
    ("first", "last", "param"),
    [(TODAY, YESTERDAY, "to"), (TODAY - timedelta(days=366), TODAY, "from")],
)
def test_a_period_that_is_turned_round_or_too_long_is_refused(
    session: Session, tenant: Tenant, first: date, last: date, param: str
) -> None:
    with pytest.raises(Invalid) as refused:
        usage.report(session, tenant.id, Period(first, last), [Group.DAY])

    assert refused.value.param == param


def test_a_report_of_too_many_rows_is_refused(
    session: Session, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "MOST_ROWS", 1)
    run(tenant, "key_a")
    usage.report(session, tenant.id, Period(YESTERDAY, TODAY), [Group.KEY])
    run(tenant, new_id("key"))

    with pytest.raises(Invalid, match="more than 1 rows"):
        usage.report(session, tenant.id, Period(YESTERDAY, TODAY), [Group.KEY])


@pytest.fixture
def session() -> Iterator[Session]:
    """A transaction of the test's own."""
    with transaction() as found:
        yield found
