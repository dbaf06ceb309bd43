"""What the doctor finds amiss, and the remedy that it names."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from werkzeug import Request, Response

from api.doctor import LOOKS, examine, look_at
from migrations.commands import head
from migrations.roles import admit_api
from shared.db import transaction
from shared.services import workers
from shared.states import Lane
from shared.tables.tenant import Tenant
from tests.ledger import execute, submit
from tests.settings import forget_settings
from tests.threads import served
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("stand_in")


def assert_amiss(what: str, *told: str) -> None:
    """A look finds something amiss, and says each of these of it."""
    finding = look_at(what)
    assert not finding.ok
    for part in told:
        assert part in finding.told
    assert "\n" not in finding.told


@contextmanager
def changed(**environment: str) -> Iterator[None]:
    """Other settings while the block runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        forget_settings()
        yield
    forget_settings()


@pytest.fixture
def closed() -> str:
    """An address of this machine at which nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def report_worker(*lanes: Lane) -> None:
    with transaction() as session:
        workers.report(session, "worker", lanes, "cpu", [])


def test_what_is_well_is_found_well(tenant: Tenant) -> None:
    submit(tenant.id, [{}] * 3)
    report_worker(*Lane)

    found = list(examine())

    assert [each.what for each in found] == list(LOOKS)
    assert [each.told for each in found if not each.ok] == []
    told = {each.what: each.told for each in found}
    assert told["redis"].startswith("valkey 9.")
    assert "invariants hold" in told["ledger"]


class TestDatabase:
    @pytest.mark.parametrize("what", ["database", "clock", "workers", "growth", "ledger"])
    def test_one_that_is_away_is_found_with_its_setting(self, what: str, closed: str) -> None:
        with changed(ATELIER_DATABASE_URL=f"postgresql+psycopg://somebody@{closed}/atelier"):
            assert_amiss(what, "Connection refused", "ATELIER_DATABASE_URL")

    def test_so_it_is_for_the_apis_role(self, closed: str) -> None:
        with changed(ATELIER_API_DATABASE_URL=f"postgresql+psycopg://api:secret@{closed}/atelier"):
            assert_amiss("wall", "Connection refused", "ATELIER_API_DATABASE_URL")

    def test_one_that_is_too_old_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("api.doctor.engines._OLDEST_POSTGRES", 99)

        assert_amiss("database", "is too old; use 99 or later")

    def test_tables_of_another_release_are_found(self) -> None:
        try:
            execute("UPDATE alembic_version SET version_num = '0001'")

            assert_amiss("database", "tables are at 0001", "atelier migrate")
        finally:
            execute(f"UPDATE alembic_version SET version_num = '{head()}'")

    def test_a_table_that_is_not_there_is_found(self) -> None:
        try:
            execute("ALTER TABLE workers RENAME TO elsewhere")

            assert_amiss("workers", "does not exist", "atelier migrate")
        finally:
            execute("ALTER TABLE elsewhere RENAME TO workers")

    def test_a_key_of_the_apis_role_that_it_does_not_have_is_found(self) -> None:
        assert look_at("wall").told == "the API sees the rows of one tenant at a time"
        try:
            execute("UPDATE wall.keys SET key = 'another'")

            assert_amiss("wall", "after a change of its password: atelier migrate")
        finally:
            admit_api()

    def test_a_clock_that_is_far_off_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = time.time
        monkeypatch.setattr("api.doctor.engines.time.time", lambda: real() + 600)

        assert_amiss("clock", "-600 s off this one's", "let both follow a time server")


class TestRedis:
    def test_one_that_is_away_is_found_with_its_setting(self, closed: str) -> None:
        with changed(ATELIER_REDIS_URL=f"redis://{closed}/0"):
            assert_amiss("redis", "Connection refused", "ATELIER_REDIS_URL")

    def test_one_that_is_too_old_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("api.doctor.engines._OLDEST_REDIS", (99, 1))

        assert_amiss("redis", "is too old; use Redis 99.1 or later, or Valkey")


class TestStorage:
    def test_one_that_is_away_is_found_with_its_setting(self, closed: str) -> None:
        with at_bucket(f"http://{closed}"):
            assert_amiss("storage", "ATELIER_STORAGE_URL")

    def test_so_is_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with changed(ATELIER_STORAGE_URL=f"file:{tmp_path / 'file' / 'below'}"):
            assert_amiss("storage", "Cannot write", "ATELIER_STORAGE_URL")

    def test_one_that_gives_other_bytes_is_found(self) -> None:
        with served(bucket_with_an_old_cache) as address, at_bucket(address):
            assert_amiss("storage", "other bytes", "a cache or a proxy")


@contextmanager
def at_bucket(address: str) -> Iterator[None]:
    with changed(
        ATELIER_STORAGE_URL="s3://bucket",
        ATELIER_S3_ENDPOINT=address,
        ATELIER_S3_ACCESS_KEY="key",
        ATELIER_S3_SECRET_KEY="secret",
    ):
        yield


def bucket_with_an_old_cache(environment: Any, start: Any) -> Any:
    """Takes whatever is put, and gives what was there before."""
    given = b"old" if Request(environment).method == "GET" else b""
    return Response(given, 200)(environment, start)


class TestMachine:
    def test_packages_that_are_missing_are_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "safetensors", None)

        assert_amiss("packages", "safetensors is missing", "pip install '.[worker]'")

    def test_a_full_disk_is_found(self) -> None:
        with changed(ATELIER_HOME="/proc"):
            assert_amiss("disk", "0 MiB are free in /proc", "make room")

    def test_a_home_that_is_not_there_is_found(self, tmp_path: Path) -> None:
        with changed(ATELIER_HOME=str(tmp_path / "nowhere")):
            assert_amiss("disk", "nowhere", "ATELIER_HOME")

    def test_a_torch_that_does_not_start_is_found(self, tmp_path: Path) -> None:
        (tmp_path / "torch.py").write_text("raise ImportError('libcudart is missing')")
        with changed(PYTHONPATH=str(tmp_path)):
            assert_amiss("gpu", "libcudart is missing", "install torch anew")

    def test_a_gpu_that_torch_does_not_see_is_found(self, tmp_path: Path) -> None:
        (tmp_path / "nvidia-smi").touch(0o755)
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        with changed(PATH=path, CUDA_VISIBLE_DEVICES=""):
            assert_amiss("gpu", "does not see it", "install a CUDA build of torch")


class TestWork:
    def test_a_lane_that_nobody_serves_is_found(self) -> None:
        report_worker(*set(Lane) - {Lane.AUDIO, Lane.TRAINING})

        assert_amiss("workers", "no worker serves", "audio", "training", "-Q")
        assert "image" not in look_at("workers").told

    def test_a_worker_that_reported_long_ago_serves_no_lane(self) -> None:
        report_worker(*Lane)
        execute("UPDATE workers SET seen_at = now() - interval '5 minutes'")

        assert_amiss("workers", "no worker serves", "image")

    def test_dead_rows_that_an_open_transaction_keeps_are_found(
        self, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("api.doctor.work._TOLERATED_DEAD_ROWS", 100)
        submit(tenant.id, [{}] * 10)
        with transaction() as held:
            held.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            held.execute(text("SELECT count(*) FROM items"))
            for _ in range(20):
                execute("UPDATE items SET attempt = attempt")

            # The server tells of them within a second or two.
            until(lambda: not look_at("growth").ok)
            assert_amiss("growth", "dead rows in items", "pg_stat_activity")

    def test_a_counter_that_is_wrong_is_found_with_the_row(self, tenant: Tenant) -> None:
        job = submit(tenant.id, [{}] * 3)
        execute("UPDATE jobs SET done = 1")

        assert_amiss("ledger", "does not hold: a job's counters", job.id, "keep a dump")
