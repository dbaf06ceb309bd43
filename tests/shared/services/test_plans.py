"""The statements that run all the time find their rows by an index, however many there are."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, text

from shared import wall
from shared.db import asking, reading, transaction
from shared.embedded.engines import Urls
from shared.services import (
    budgets,
    deliveries,
    failures,
    items,
    jobs,
    looks,
    metrics,
    outputs,
    overdrafts,
    quotas,
    retention,
    tenants,
    usage,
)
from shared.services.ledger import expire, leases, sweep
from shared.services.pages import Cursor, Period
from shared.states import JobKind, JobState, OutputState, Stage
from shared.tables.job import Job
from shared.tables.tenant import Tenant
from tests.conftest import cleaned
from tests.ledger import add_other_tenant, add_stand_in, execute, finish, look, submit, take
from tests.settings import forget_settings
from tests.shared.services.plans import can_be_explained, looked_up, measured, read_in_full
from tests.statements import caught

MOST_ROWS = 150
"""More than any page or batch; far fewer than the rows of a crowded table."""

MAY_READ = ("WITH open AS", "jobs.metadata @>", "WHERE jobs.model_version_id IN")
"""Parts of statements that may read more: a budget sums up every job of its tenant that is open. By
metadata, and outputs by model, the statistics decide what is less to read: the filter's index, or
the rows from the newest on until the page is full.
"""

RARE_JOBS = {
    jobs.Filter(kind=JobKind.TRAINING): "jobs_by_end",
    jobs.Filter(state=JobState.FAILED): "jobs_by_state",
    jobs.Filter(model="none"): "jobs_by_model",
    jobs.Filter(metadata="customer=acme"): "jobs_by_metadata",
    jobs.Filter(dataset_id="none"): "jobs_by_dataset",
    jobs.Filter(pairs=(("customer", "acme"),)): "jobs_by_metadata",
}
"""Each with the index that leads to the few there are."""
RARE_OUTPUTS = {
    outputs.Filter(state=OutputState.REJECTED): "outputs_unreleased",
    outputs.Filter(model="none"): "jobs_by_version",
    outputs.Filter(media_type=outputs.MediaType.PNG): "outputs_by_media_type",
    outputs.Filter(label="7"): "outputs_by_label",
    outputs.Filter(item_id=1): "outputs_item_id_index_key",
}


@pytest.fixture(scope="module")
def crowded(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    """A tenant among others, with rows enough that reading all of them would not be chosen."""
    home = tmp_path_factory.mktemp("crowded")
    with pytest.MonkeyPatch.context() as environment, cleaned(urls, home, environment):
        environment.setenv("ATELIER_FAMILIES", "tests.families.stand_in")
        forget_settings()
        with transaction() as session:
            tenant = tenants.add_tenant(session, "acme")
        add_stand_in(tenant.id)
        for number in range(3):
            other = add_other_tenant(f"other {number}")
            submit(other, [{}] * 4000)
        for _ in range(200):
            submit(tenant.id, [{}] * 3)
        for _ in range(100):
            finish(take())
        execute("UPDATE items SET custom_id = seq::text")
        add_failures(tenant, 4000)
        execute("ANALYZE")
        yield tenant


def add_failures(tenant: Tenant, count: int) -> None:
    """One a minute, the last of them just now."""
    execute(f"""
        INSERT INTO failures
            (tenant_id, job_id, item_id, attempt, kind, reason, error, worker, created_at)
        SELECT '{tenant.id}', 'job', n, 1, 'error', 'none', '{{}}', 'worker',
            now() - interval '1 minute' * n
        FROM generate_series({count}, 1, -1) AS n
    """)


def claim_and_commit(tenant: Tenant) -> None:
    finish(take())


def renew(tenant: Tenant) -> None:
    with transaction() as session:
        leases.renew(session, uuid4(), Stage.LOAD)
        leases.stop_flag(session, uuid4())


def accept(tenant: Tenant) -> None:
    submit(tenant.id, [{}])


def look_at_a_job(tenant: Tenant) -> None:
    with reading() as session:
        job = jobs.list_jobs(session, tenant.id, Cursor(limit=1), jobs.Filter()).rows[0]
        looks.position(session, job)
    look(job)
    with asking() as database:
        looks.look(database, tenant.id, job.id)


def list_what_belongs_to_a_job(tenant: Tenant) -> None:
    with reading() as session:
        job = jobs.list_jobs(session, tenant.id, Cursor(limit=1), jobs.Filter()).rows[0]
        items.list_items(session, job, Cursor())
        items.list_items(session, job, Cursor(), items.Filter(custom_id="a"))
        outputs.list_outputs(session, tenant.id, Cursor(), outputs.Filter(job_id=job.id))
        of_one = outputs.Filter(job_id=job.id, custom_id="a")
        outputs.list_outputs(session, tenant.id, Cursor(), of_one)
        failures.list_failures(session, tenant.id, Cursor(), failures.Filter(job_id=job.id))


def list_outputs(tenant: Tenant) -> None:
    with reading() as session:
        outputs.list_outputs(session, tenant.id, Cursor(), outputs.Filter())


def list_failures_of_a_time(tenant: Tenant) -> None:
    a_day_ago = datetime.now(UTC) - timedelta(days=1)
    for period in (Period(before=a_day_ago), Period(a_day_ago, a_day_ago + timedelta(minutes=9))):
        with reading() as session:
            failures.list_failures(session, tenant.id, Cursor(), failures.Filter(period=period))


def list_by_what_hardly_any_has(tenant: Tenant) -> None:
    with reading() as session:
        for only in RARE_JOBS:
            jobs.list_jobs(session, tenant.id, Cursor(), only)
        for output_filter in RARE_OUTPUTS:
            outputs.list_outputs(session, tenant.id, Cursor(), output_filter)


def sweep_through(tenant: Tenant) -> None:
    with transaction() as session:
        sweep.expired_leases(session)
        sweep.claimable_lanes(session)
        expire.overdue_jobs(session)
        sweep.recover(session, uuid4())


def look_for_outdated_jobs(tenant: Tenant) -> None:
    with reading() as session:
        retention.outdated(session)


def cancel(tenant: Tenant) -> None:
    job = submit(tenant.id, [{}])
    with transaction() as session:
        jobs.cancel(session, tenant.id, job.id)


def look_for_deliveries(tenant: Tenant) -> None:
    with transaction() as session:
        deliveries.take(session, 16)


def look_at_the_lanes(tenant: Tenant) -> None:
    with reading() as session:
        metrics.lanes(session)
        metrics.pending_deliveries(session)
        quotas.check_room(session, tenant.id, 1)


def look_at_usage_and_budgets(tenant: Tenant) -> None:
    today = datetime.now(UTC).date()
    with transaction() as session:
        tenants.change_tenant(session, tenant.name, {"max_compute_seconds": 10**6})
        usage.report(session, tenant.id, usage.Period(today, today), list(usage.Group))
        budgets.standing(session, tenant.id, None)
        overdrafts.look(session)
    submit(tenant.id, [{}])


def look_at_the_reasons_of_failures(tenant: Tenant) -> None:
    with reading() as session:
        failures.reasons(session, tenant.id)


HOT = (
    claim_and_commit,
    renew,
    accept,
    look_at_a_job,
    list_what_belongs_to_a_job,
    list_outputs,
    list_failures_of_a_time,
    list_by_what_hardly_any_has,
    sweep_through,
    look_for_outdated_jobs,
    cancel,
    look_for_deliveries,
    look_at_the_lanes,
    look_at_usage_and_budgets,
    look_at_the_reasons_of_failures,
)


OF_THE_API = (
    accept,
    look_at_a_job,
    list_what_belongs_to_a_job,
    list_outputs,
    list_failures_of_a_time,
    cancel,
    look_at_the_lanes,
    look_at_the_reasons_of_failures,
)


@pytest.mark.parametrize("act", HOT, ids=lambda act: act.__name__)
def test_no_large_table_is_read_in_full(crowded: Tenant, act: Callable[[Tenant], None]) -> None:
    assert_finds_by_index(act, crowded)


@pytest.mark.parametrize("act", OF_THE_API, ids=lambda act: act.__name__)
def test_nor_is_one_behind_the_wall_between_tenants(
    crowded: Tenant, act: Callable[[Tenant], None]
) -> None:
    with wall.asking_for(crowded.id):
        assert_finds_by_index(act, crowded)


def assert_finds_by_index(act: Callable[[Tenant], None], tenant: Tenant) -> None:
    """Nothing of what is done reads a large table in full."""
    with caught() as statements:
        act(tenant)
    explainable = [each for each in statements if can_be_explained(each[0])]
    assert explainable

    for statement in explainable:
        assert read_in_full(statement) == set(), statement[0]


@pytest.mark.parametrize("act", HOT, ids=lambda act: act.__name__)
def test_no_scan_reads_far_more_rows_than_are_asked_for(
    crowded: Tenant, act: Callable[[Tenant], None]
) -> None:
    with measured() as reads:
        act(crowded)

    assert reads
    many = [each for each in reads if each.rows > MOST_ROWS]
    assert [each for each in many if not any(part in each.statement for part in MAY_READ)] == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM items",
        "SELECT id FROM items WHERE batch_key = 'none' ORDER BY id LIMIT 1",
        "SELECT id FROM outputs WHERE seed = -1 ORDER BY id DESC LIMIT 1",
    ],
)
def test_a_whole_index_that_is_read_would_be_noticed(crowded: Tenant, statement: str) -> None:
    assert read_in_full((statement, {})) == set()

    with measured() as reads, reading() as session:
        session.execute(text(statement))

    assert max(each.rows for each in reads) > MOST_ROWS


@pytest.mark.parametrize("only", RARE_JOBS, ids=str)
def test_the_few_jobs_that_a_filter_leaves_are_found_by_its_index(
    crowded: Tenant, only: jobs.Filter
) -> None:
    with caught() as statements, transaction() as session:
        jobs.list_jobs(session, crowded.id, Cursor(), only)

    assert RARE_JOBS[only] in looked_up(statements[-1])


@pytest.mark.parametrize("only", RARE_OUTPUTS, ids=str)
def test_the_few_outputs_that_a_filter_leaves_are_found_by_its_index(
    crowded: Tenant, only: outputs.Filter
) -> None:
    with caught() as statements, reading() as session:
        outputs.list_outputs(session, crowded.id, Cursor(), only)

    assert RARE_OUTPUTS[only] in looked_up(statements[-1])


@pytest.mark.parametrize(
    "only", [outputs.Filter(media_type=outputs.MediaType.PNG), outputs.Filter(label="7")], ids=str
)
def test_so_they_are_behind_the_wall_where_no_index_on_an_expression_would_serve(
    crowded: Tenant, only: outputs.Filter
) -> None:
    with wall.asking_for(crowded.id):
        with caught() as statements, reading() as session:
            outputs.list_outputs(session, crowded.id, Cursor(), only)

        assert RARE_OUTPUTS[only] in looked_up(statements[-1])


def test_one_item_of_a_large_job_is_found_by_its_custom_id(crowded: Tenant) -> None:
    with reading() as session:
        job = session.scalars(select(Job).order_by(Job.total.desc()).limit(1)).one()
    wanted = outputs.Filter(job_id=job.id, custom_id="7")
    with caught() as statements, reading() as session:
        items.list_items(session, job, Cursor(), items.Filter(custom_id="7"))
        outputs.list_outputs(session, job.tenant_id, Cursor(), wanted)

    assert len(statements) == 2
    for statement in statements:
        assert "custom_id" in looked_up(statement)["items_by_custom_id"]


def test_a_time_bounds_the_ids_that_are_read(crowded: Tenant) -> None:
    long_ago = Period(before=datetime(2020, 1, 1, tzinfo=UTC))
    with caught() as statements, reading() as session:
        jobs.list_jobs(session, crowded.id, Cursor(), jobs.Filter(period=long_ago))
        outputs.list_outputs(session, crowded.id, Cursor(), outputs.Filter(period=long_ago))

    for statement in statements:
        (condition,) = looked_up(statement).values()
        assert "(id)::text <" in condition


def test_a_table_that_is_read_in_full_would_be_noticed(crowded: Tenant) -> None:
    assert read_in_full(("SELECT * FROM items WHERE batch_key = 'x'", {})) == {"items"}


def test_the_queues_settings_keep_dead_rows_few(crowded: Tenant) -> None:
    with transaction() as session:
        options = session.execute(
            text("SELECT reloptions FROM pg_class WHERE relname = 'queue'")
        ).scalar_one()
    assert "autovacuum_vacuum_threshold=20000" in options
    assert "autovacuum_vacuum_scale_factor=0" in options
