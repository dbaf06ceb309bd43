"""Upkeep: objects and rows are compared, old jobs are deleted, and nothing else is touched."""

import io
import logging
from collections import Counter
from collections.abc import Iterator
from threading import Thread, get_ident

import pytest
from sqlalchemy import event, func, select, text

from shared.db import engine, transaction
from shared.errors import Conflict, NotFound
from shared.services import failures, files, jobs, outputs, retries, submissions, uploads
from shared.services.events import events_of
from shared.services.pages import Cursor
from shared.states import Lane
from shared.storage import BINARY, FolderStorage, storage
from shared.tables.file import File
from shared.tables.job import Job
from shared.tables.tenant import Tenant
from shared.tables.upload import Upload
from tests.ledger import add_other_tenant, assert_sound, execute, look, submit
from tests.settings import forget_settings
from worker import upkeep
from worker.runner import drain

pytestmark = pytest.mark.usefixtures("stand_in")


def run(tenant: Tenant, items: int = 3) -> Job:
    job = submit(tenant.id, [{"n": 2}] * items)
    drain(Lane.TEXT)
    return job


def other_tenant(**limits: float) -> Tenant:
    """One more tenant with limits of its own, who may use a stand-in."""
    id_ = add_other_tenant(f"other {limits}", **limits)
    with transaction() as session:
        return session.get_one(Tenant, id_)


def age(job: Job, days: float) -> None:
    execute(f"UPDATE jobs SET finished_at = now() - interval '{days} days' WHERE id = '{job.id}'")


def keys(job: Job) -> list[str]:
    return [one.key for one in storage().list(f"{job.tenant_id}/outputs/{job.id}/")]


def put(key: str) -> None:
    storage().put(key, io.BytesIO(b"x"), media_type=BINARY)


class TestObjects:
    def test_one_without_a_row_is_deleted_a_day_after_the_end(self, tenant: Tenant) -> None:
        job = run(tenant)
        orphan = f"{tenant.id}/outputs/{job.id}/0/1-0-{'a' * 64}"
        put(orphan)
        upkeep.reconcile_objects()
        assert orphan in keys(job), "an upload may still be on its way to a row"

        age(job, 1.1)
        upkeep.reconcile_objects()

        assert len(keys(job)) == 6
        assert orphan not in keys(job)

    def test_one_that_is_missing_is_an_alarm(
        self, tenant: Tenant, caplog: pytest.LogCaptureFixture
    ) -> None:
        job = run(tenant)
        age(job, 1.1)
        lost = keys(job)[0]
        storage().delete(lost)
        with caplog.at_level(logging.ERROR):
            upkeep.reconcile_objects()

        with transaction() as session:
            (event,) = events_of(session, job.id, ["warning"])
        assert event.data == {"keys": [lost]}
        assert lost in caplog.text

    def test_another_jobs_objects_are_left_alone(self, tenant: Tenant) -> None:
        old, young = run(tenant), run(tenant)
        put(f"{tenant.id}/outputs/{young.id}/0/unknown")
        age(old, 1.1)
        upkeep.reconcile_objects()
        upkeep.reconcile_objects()

        assert len(keys(young)) == 7


class TestRetention:
    @pytest.fixture(autouse=True)
    def _a_week(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ATELIER_RETENTION_DAYS", "7")
        forget_settings()

    def test_an_old_job_goes_with_all_that_came_of_it_and_a_younger_one_stays(
        self, tenant: Tenant
    ) -> None:
        old, young = run(tenant), run(tenant)
        age(old, 7.1)
        age(young, 6.9)
        upkeep.forget_jobs()

        assert (keys(old), len(keys(young))) == ([], 6)
        with transaction() as session, pytest.raises(NotFound):
            jobs.get(session, tenant.id, old.id)
        with transaction() as session:
            left = session.execute(text("SELECT count(*) FROM items")).scalar_one()
            page = outputs.list_outputs(session, tenant.id, Cursor(), outputs.Filter())
        assert (left, {output.job_id for output in page.rows}) == (3, {young.id})
        assert look(young).state == "succeeded"
        assert_sound()

    def test_one_that_is_not_over_stays_however_old(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}])
        execute("UPDATE jobs SET created_at = now() - interval '90 days'")
        upkeep.forget_jobs()

        assert look(job).state == "queued"

    def test_one_that_is_about_to_go_is_not_retried(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{"fault": "refuse"}])
        drain(Lane.TEXT)
        age(job, 7.1)

        with transaction() as session, pytest.raises(Conflict, match="being deleted"):
            retries.retry(session, tenant.id, job.id)

    def test_without_a_setting_everything_stays(
        self, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("ATELIER_RETENTION_DAYS")
        forget_settings()
        job = run(tenant)
        age(job, 10_000)
        upkeep.forget_jobs()

        assert len(keys(job)) == 6

    def test_a_tenants_own_goes_before_the_installations(self, tenant: Tenant) -> None:
        patient, hasty = other_tenant(retention_days=30), other_tenant(retention_days=1)
        mine, kept, gone = run(tenant), run(patient), run(hasty)
        young = run(hasty)
        for job in (mine, kept):
            age(job, 7.1)
        age(gone, 1.1)
        age(young, 0.9)

        upkeep.forget_jobs()

        assert [len(keys(job)) for job in (mine, kept, gone, young)] == [0, 6, 0, 6]
        assert_sound()

    def test_a_tenants_own_holds_without_a_setting_and_its_old_jobs_are_not_retried(
        self, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("ATELIER_RETENTION_DAYS")
        forget_settings()
        hasty = other_tenant(retention_days=1)
        mine, gone = run(tenant), run(hasty)
        failed = [submit(each.id, [{"fault": "refuse"}]) for each in (tenant, hasty)]
        drain(Lane.TEXT)
        for job in (mine, gone, *failed):
            age(job, 1.1)

        with transaction() as session:
            retries.retry(session, tenant.id, failed[0].id)
            with pytest.raises(Conflict, match="being deleted"):
                retries.retry(session, hasty.id, failed[1].id)
            only = failures.Filter()
            assert retries.retry_failed(session, hasty.id, only).items == 0
        upkeep.forget_jobs()

        assert [len(keys(job)) for job in (mine, gone)] == [6, 0]
        assert look(failed[0]).state == "queued"

    def test_more_old_jobs_than_are_looked_at_at_once_all_go(self, tenant: Tenant) -> None:
        for _ in range(60):
            submit(tenant.id, [{}])
        execute("UPDATE items SET state = 'cancelled'")
        execute("DELETE FROM queue")
        execute(
            "UPDATE jobs SET state = 'cancelled', queued = 0, cancelled = 1,"
            " finished_at = now() - interval '8 days'"
        )

        upkeep.forget_jobs()

        with transaction() as session:
            assert session.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 0


class TestFiles:
    @pytest.fixture
    def file(self, tenant: Tenant) -> File:
        """A file of items that expires in an hour."""
        content = io.BytesIO(b'{"params": {}}')
        with transaction() as session:
            made = files.store(tenant.id, "batch", "a.jsonl", content, lifetime_s=3600)
            session.add(made)
            session.flush()
            session.refresh(made)
        return made

    def submit_file(self, file: File) -> Job:
        with transaction() as session:
            common = submissions.Common(file.tenant_id)
            return submissions.create_generation_from_file(session, common, "stand-in", file.id)

    def let_expire(self) -> None:
        execute("UPDATE files SET expires_at = now()")

    def objects(self, file: File) -> list[str]:
        return [one.key for one in storage().list(f"{file.tenant_id}/files/")]

    def test_one_that_has_expired_goes_with_its_object_and_no_sooner(self, file: File) -> None:
        upkeep.forget_files()
        assert self.objects(file) == [file.key]

        self.let_expire()
        upkeep.forget_files()

        assert self.objects(file) == []
        with transaction() as session:
            assert session.get(File, file.id) is None

    def test_an_object_without_a_row_is_deleted_a_day_later(
        self, file: File, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(f"{file.tenant_id}/files/file-lost")
        upkeep.tidy_files()
        assert len(self.objects(file)) == 2

        monkeypatch.setattr(upkeep, "_LATE_S", -1)
        upkeep.tidy_files()

        assert self.objects(file) == [file.key]

    def test_one_that_a_job_needs_stays_until_its_items_were_read(self, file: File) -> None:
        job = self.submit_file(file)
        self.let_expire()
        upkeep.forget_files()
        assert self.objects(file) == [file.key]

        drain(Lane.LIGHT)
        upkeep.forget_files()

        assert self.objects(file) == []
        for lane in (Lane.TEXT, Lane.LIGHT):
            drain(lane)
        assert look(job).state == "succeeded"

    def test_one_that_a_job_is_being_accepted_for_waits_for_it(
        self, tenant: Tenant, file: File
    ) -> None:
        with transaction() as session:
            common = submissions.Common(tenant.id)
            submissions.create_generation_from_file(session, common, "stand-in", file.id)
            self.let_expire()
            passing = Thread(target=upkeep.forget_files)
            passing.start()
            passing.join(0.5)
            assert passing.is_alive(), "it does not wait for what is being accepted"
        passing.join(10)

        assert self.objects(file) == [file.key]


@pytest.fixture
def deleted(monkeypatch: pytest.MonkeyPatch, installation: object) -> Iterator[list[int]]:
    """For every object that is deleted, how many connections its thread had taken just then."""
    taken: Counter[int] = Counter()
    found: list[int] = []
    delete = FolderStorage.delete

    def take(*_: object) -> None:
        taken[get_ident()] += 1

    def give(*_: object) -> None:
        taken[get_ident()] -= 1

    def watched(self: FolderStorage, key: str) -> None:
        found.append(taken[get_ident()])
        delete(self, key)

    monkeypatch.setattr(FolderStorage, "delete", watched)
    pool = engine()
    event.listen(pool, "checkout", take)
    event.listen(pool, "checkin", give)
    yield found
    event.remove(pool, "checkout", take)
    event.remove(pool, "checkin", give)


def test_no_transaction_is_open_while_objects_are_deleted(
    tenant: Tenant, deleted: list[int]
) -> None:
    """Of files, of parts, and of what else an upload left: a slow storage holds nobody up."""
    with transaction() as session:
        file = files.store(tenant.id, "batch", "a.jsonl", io.BytesIO(b"x"), lifetime_s=3600)
        session.add(file)
        upload = uploads.create(session, tenant.id, uploads.NewUpload("batch", "b.jsonl", 2))
        for _ in range(2):
            part, _ = uploads.store_part(tenant.id, upload.id, io.BytesIO(b"x"))
            uploads.add_part(session, tenant.id, part)
    put(f"{uploads.folder(tenant.id, upload.id)}/part_lost")
    execute("UPDATE files SET expires_at = now()")
    execute("UPDATE uploads SET state = 'cancelled', expires_at = now() - interval '2 days'")

    upkeep.forget_files()
    upkeep.tidy_uploads()

    assert deleted == [0, 0, 0, 0]
    assert list(storage().list("")) == []
    with transaction() as session:
        left = select(func.count()).select_from(File), select(func.count()).select_from(Upload)
        assert [session.scalar(count) for count in left] == [0, 0]
