"""`atelier up` as a process: what dies comes back, what is stopped leaves nothing."""

import os
import signal
import socket
import sys
import urllib.request

import psycopg
import pytest
import redis

from shared.embedded.guardian import born
from tests.waiting import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def query(database: str, statement: str) -> list:
    address = database.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(address, connect_timeout=5) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def count_sleepers(installation) -> int:
    """The worker's children."""
    return sum("b'sleep" in line for line in installation.processes())


def answers(look) -> bool:
    try:
        look()
    except (psycopg.OperationalError, redis.ConnectionError, OSError):
        return False
    return True


def test_a_killed_postgres_comes_back_on_the_same_port_with_its_rows(start):
    installation = start()
    database = installation.urls()["database"]
    query(database, "CREATE TABLE kept AS SELECT 7 AS number")
    before, worker = installation.leader("postgres"), installation.leader("worker")

    os.kill(before, signal.SIGKILL)

    until(lambda: installation.leader("postgres") not in (None, before))
    until(lambda: answers(lambda: query(database, "SELECT 1")))
    assert query(database, "SELECT number FROM kept") == [(7,)]
    assert installation.leader("worker") == worker


def test_a_postgres_killed_under_a_long_query_comes_back(start):
    installation = start()
    database = installation.urls()["database"].replace("+psycopg", "")
    busy = psycopg.connect(database)
    pid = busy.info.backend_pid
    # A query that looks at nothing but its own arithmetic does not notice that its server died.
    busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000)")
    before = installation.leader("postgres")

    os.kill(before, signal.SIGKILL)

    until(lambda: installation.leader("postgres") not in (None, before))
    until(lambda: answers(lambda: query(database, "SELECT 1")), within_s=15)
    assert born(pid) is None
    busy.close()


def test_a_killed_valkey_comes_back_on_the_same_port(start):
    installation = start()
    with redis.Redis.from_url(installation.urls()["redis"]) as client:
        client.set("hint", "7")
        before = installation.leader("valkey")

        os.kill(before, signal.SIGKILL)

        until(lambda: installation.leader("valkey") not in (None, before))
        until(lambda: answers(client.ping))
        assert client.get("hint") == b"7"


def test_a_killed_program_comes_back_without_its_old_children(start):
    installation = start(engines=False)
    installation.urls()
    until(lambda: count_sleepers(installation) == 2)
    before = installation.leader("worker")

    os.kill(before, signal.SIGKILL)

    after = until(lambda: installation.leader("worker") not in (None, before))
    assert after
    until(lambda: count_sleepers(installation) == 2)
    assert born(before) is None


def test_a_killed_guardian_comes_back(start):
    installation = start(engines=False)
    installation.urls()

    def guardian() -> str | None:
        lines = [line for line in installation.processes() if "guardian.py" in line]
        return lines[0].split()[0] if lines else None

    before = until(guardian)
    os.kill(int(before), signal.SIGKILL)

    until(lambda: guardian() not in (None, before))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_installation_leaves_no_process(start, how):
    installation = start()
    installation.urls()
    # Two engines, two programs, the worker's children, the guardian and ourselves at the least.
    assert len(installation.processes()) >= 8

    status, _ = installation.stop(how)

    assert installation.processes() == []
    assert status == 0
    assert list((installation.home / "run").glob("*.pid")) == []


def test_a_closed_terminal_stops_the_installation(start):
    installation = start(engines=False)
    installation.urls()

    status, _ = installation.stop(signal.SIGHUP)

    assert (status, installation.processes()) == (0, [])


def test_a_stop_during_the_start_leaves_no_process(start):
    installation = start()
    until(lambda: installation.leader("postgres"))

    status, _ = installation.stop(signal.SIGTERM)

    assert (status, installation.processes()) == (0, [])


def test_a_killed_supervisor_takes_every_process_with_it(start):
    installation = start(words=["stubborn"], grace_s=1.0)
    installation.urls()

    installation.stop(signal.SIGKILL)

    until(lambda: not installation.processes())


def test_supervisor_and_guardian_killed_together_leave_nothing_after_the_next_start(start):
    installation = start(engines=False, words=["stubborn"], grace_s=0.5)
    installation.urls()
    worker = installation.leader("worker")
    guardian = next(line for line in installation.processes() if "guardian.py" in line)
    installation.supervisor.send_signal(signal.SIGSTOP)  # so that it does not bring it back
    os.kill(int(guardian.split()[0]), signal.SIGKILL)
    installation.stop(signal.SIGKILL)
    assert born(worker) is not None

    again = start(engines=False)
    again.urls()
    _, said = again.stop(signal.SIGTERM)

    assert again.processes() == []
    assert f"stopped worker-{worker}, left by an earlier run" in said


def test_a_program_that_ignores_the_signal_is_killed_with_its_children(start):
    installation = start(engines=False, words=["stubborn"], grace_s=0.5)
    installation.urls()

    _, said = installation.stop(signal.SIGTERM)

    assert "worker did not stop in time and was killed" in said
    assert installation.processes() == []


def test_a_second_signal_ends_the_wait_for_a_slow_program(start):
    installation = start(engines=False, words=["stubborn"], grace_s=300.0)
    installation.urls()
    installation.supervisor.send_signal(signal.SIGINT)
    until(lambda: installation.leader("api") is None)

    def insist() -> bool:
        installation.supervisor.send_signal(signal.SIGINT)
        return installation.supervisor.poll() is not None

    until(insist, within_s=10)

    assert installation.processes() == []


def test_a_second_start_keeps_the_rows(start):
    first = start()
    query(first.urls()["database"], "CREATE TABLE kept AS SELECT 7 AS number")
    first.stop(signal.SIGTERM)

    second = start()

    assert query(second.urls()["database"], "SELECT number FROM kept") == [(7,)]


def test_a_second_supervisor_on_the_same_home_names_the_first(start):
    first = start(engines=False)
    first.urls()

    second = start(engines=False)
    _, said = second.supervisor.communicate(timeout=30)

    assert second.supervisor.returncode == 1
    assert f"HomeBusy: atelier already runs on {first.home} (pid {first.supervisor.pid})" in said
    with urllib.request.urlopen(f"http://127.0.0.1:{first.port}/") as answer:
        assert answer.status == 200


def test_a_taken_port_names_its_holder_before_anything_is_started(start, free_port):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port))
        listener.listen()
        installation = start()
        _, said = installation.supervisor.communicate(timeout=30)

    assert f"PortTaken: Port {free_port} is taken by pid {os.getpid()} (" in said
    assert "ATELIER_PORT" in said
    assert installation.processes() == []


def test_a_program_that_cannot_start_ends_the_installation_with_its_reason(start):
    installation = start(engines=False, worker=["/nowhere/worker"])

    _, said = installation.supervisor.communicate(timeout=30)

    assert installation.supervisor.returncode == 1
    assert "/nowhere/worker cannot be started: No such file or directory" in said
    assert "ProgramFailed: worker stopped again and again" in said
    assert installation.processes() == []
