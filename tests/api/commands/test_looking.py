"""`atelier status`, `cancel`, `logs`, and what every command says when the server will not."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from api.client.faults import TRIES
from shared.states import Lane, Scope
from shared.tables.tenant import Tenant
from tests.api.client import new_key, new_tenant
from tests.api.commands.site import Fault, Site, run, said
from tests.threads import draining, served

Finished = Callable[..., str]
Items = Callable[..., Path]


def submit(file: Path) -> str:
    return said("submit", file, "--model", "stand-in").strip()


class TestStatus:
    def test_the_last_jobs_are_a_table_newest_first(self, finished: Finished, items: Items) -> None:
        first, file = finished({}), items({}, {"fault": "refuse"})
        second = run("submit", file, "--model", "stand-in", "--wait").stdout.strip()

        heading, *rows = said("status").splitlines()

        assert heading.split() == ["ID", "KIND", "MODEL", "STATE", "DONE", "CREATED"]
        assert [row.split()[:5] for row in rows] == [
            [second, "generation", "stand-in", "partial", "1/2"],
            [first, "generation", "stand-in", "succeeded", "1/1"],
        ]

    def test_a_job_is_shown_with_the_first_of_its_failures_by_reason(
        self, finished: Finished, items: Items
    ) -> None:
        file = items({}, {"fault": "refuse"}, {"fault": "refuse"}, {"fault": "raise"})
        job_id = run("submit", file, "--model", "stand-in", "--wait").stdout.strip()

        shown = said("status", job_id)

        assert "items        1 of 4 done, 3 failed" in shown
        failed = [line for line in shown.splitlines() if line.startswith("failed ")]
        assert len(failed) == 2
        assert any("invalid_value: seed: refused" in line for line in failed)
        assert any("asked to raise" in line for line in failed)

    def test_json_is_the_apis_own(self, finished: Finished) -> None:
        job_id = finished({})

        assert json.loads(said("status", job_id, "--json"))["object"] == "job"
        listed = json.loads(said("status", "--json"))
        assert (listed["object"], listed["data"][0]["id"]) == ("list", job_id)

    def test_what_a_job_says_of_itself_cannot_steer_the_terminal(
        self, site: Site, items: Items
    ) -> None:
        named = ("--metadata", "title=\x1b]0;owned\x07\nfake  line")
        job_id = said("submit", items({}), "--model", "stand-in", *named).strip()

        shown = said("status", job_id)

        assert "metadata title   ]0;owned  fake  line" in shown.splitlines()
        assert not {"\x1b", "\x07"} & set(shown)


class TestCancel:
    def test_a_cancelled_job_says_so(self, site: Site, items: Items) -> None:
        job_id = submit(items({}))

        assert said("cancel", job_id) == f"{job_id} cancelled\n"

        assert said("cancel", job_id) == f"{job_id} cancelled\n", "and says so again"

    def test_a_job_that_was_done_before_is_refused(self, workers: None, items: Items) -> None:
        job_id = run("submit", items({}), "--model", "stand-in", "--wait").stdout.strip()

        late = run("cancel", job_id)

        assert late.exit_code == 3
        assert "it cannot be cancelled any more" in late.stderr

    def test_a_cancel_whose_answer_was_lost_is_told_of_all_the_same(
        self, site: Site, items: Items, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("api.client.faults._FIRST_PAUSE_S", 0.01)
        job_id = submit(items({}))
        site.faults.append(Fault("POST", "/cancel", times=1))

        assert said("cancel", job_id) == f"{job_id} cancelled\n"

        tries = site.requests("POST", f"/api/v1/jobs/{job_id}/cancel")
        assert len(tries) == 2
        assert not any("HTTP_IDEMPOTENCY_KEY" in one for one in tries)

    def test_json_is_the_job(self, site: Site, items: Items) -> None:
        assert json.loads(said("cancel", submit(items({})), "--json"))["state"] == "cancelled"


class TestLogs:
    def test_events_and_failures_stand_in_order(self, workers: None, items: Items) -> None:
        file = items({"fault": "refuse"}, {})
        job_id = run("submit", file, "--model", "stand-in", "--wait").stdout.strip()

        lines = said("logs", job_id).splitlines()

        assert lines == sorted(lines, key=lambda line: line[:19])
        states = [line.split()[-1] for line in lines if " state " in line]
        assert states == ["queued", "running", "finalizing", "partial"]
        assert any("attempt 1: seed: refused" in line for line in lines)

    def test_json_is_the_apis_own_an_object_a_line(self, workers: None, items: Items) -> None:
        file = items({"fault": "refuse"}, {})
        job_id = run("submit", file, "--model", "stand-in", "--wait").stdout.strip()

        rows = [json.loads(line) for line in said("logs", job_id, "--json").splitlines()]

        assert {(row["object"], row["job"]) for row in rows} == {
            ("event", job_id),
            ("failure", job_id),
        }
        assert [row["created_at"] for row in rows] == sorted(row["created_at"] for row in rows)
        assert len(rows) == len(said("logs", job_id, "--follow", "--json").splitlines())

    def test_following_ends_with_the_job_and_tells_each_line_once(
        self, site: Site, items: Items
    ) -> None:
        job_id = submit(items({"seconds": 1.5}))

        with draining(Lane.LIGHT, Lane.TEXT):
            lines = said("logs", job_id, "--follow").splitlines()

        assert lines == said("logs", job_id).splitlines()
        assert lines[-1].endswith("succeeded")


class TestFaults:
    def test_a_busy_server_is_asked_again_when_it_says(self, site: Site) -> None:
        site.faults = [Fault("GET", "/jobs", 2, "503 Busy", (("Retry-After", "1"),))]

        done = run("status")

        assert done.exit_code == 0
        assert done.stderr.count("trying again in 1.0 s") == 2

    @pytest.mark.parametrize(("status", "code"), [("503 Busy", 4), ("429 Too many", 3)])
    def test_a_server_that_stays_busy_is_given_up(self, site: Site, status: str, code: int) -> None:
        site.faults = [Fault("GET", "/jobs", 100, status)]

        assert run("status").exit_code == code
        assert len(site.requests("GET", "/api/v1/jobs")) == TRIES

    def test_a_server_that_asks_for_too_long_a_wait_is_not_waited_for(self, site: Site) -> None:
        site.faults = [Fault("GET", "/jobs", 100, "429 Too many", (("Retry-After", "300"),))]

        assert run("status").exit_code == 3
        assert len(site.requests("GET", "/api/v1/jobs")) == 1

    def test_a_failure_of_the_server_is_not_repeated(self, site: Site) -> None:
        site.faults = [Fault("GET", "/jobs", 100, "500 Broken")]

        assert run("status").exit_code == 4
        assert len(site.requests("GET", "/api/v1/jobs")) == 1

    def test_a_refusal_is_said_as_the_server_says_it(
        self, site: Site, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wrong = run("status", "--key", "atl_wrong")
        assert wrong.exit_code == 3
        assert "(status 401, request req_" in wrong.stderr

        monkeypatch.setenv("ATELIER_API_KEY", new_key(tenant.id, [Scope.READ]))
        assert "lacks the scope generate" in run("cancel", "job_x").stderr

    def test_a_job_of_somebody_else_is_not_there(
        self, site: Site, items: Items, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job_id = submit(items({}))
        monkeypatch.setenv("ATELIER_API_KEY", new_tenant()[1])

        for command in (["status"], ["cancel"], ["logs"], ["fetch", "--to", tmp_path / "to"]):
            done = run(*command, job_id)
            assert (done.exit_code, "No job" in done.stderr) == (3, True), done.stderr
        assert run("status", "../keys").exit_code == 3

    def test_a_server_that_is_not_there_is_exit_code_4(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("api.client.faults._FIRST_PAUSE_S", 0.01)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]

        done = run("status", "--url", f"http://127.0.0.1:{port}")

        assert done.exit_code == 4
        assert f"127.0.0.1:{port} gave no answer" in done.stderr

    @pytest.mark.parametrize("status", ["200 OK", "302 Found"])
    def test_another_kind_of_server_is_told_from_ours(self, site: Site, status: str) -> None:
        def page(environ: object, start: Callable[..., object]) -> list[bytes]:
            start(
                status, [("Location", "https://elsewhere.example/"), ("Content-Type", "text/html")]
            )
            return [b"<html>"]

        with served(page) as address:
            done = run("status", "--url", address)

        assert done.exit_code in {3, 4}
        assert "set ATELIER_URL" in done.stderr

    @pytest.mark.parametrize(
        ("named", "told"),
        [
            (["--key", ""], "no API key: set ATELIER_API_KEY"),
            (["--key", "ключ"], "no API key: set ATELIER_API_KEY"),
            (["--url", "example.org"], "is not an address"),
            (["--url", "ftp://example.org"], "is not an address"),
            (["--url", "http://"], "is not an address"),
        ],
    )
    def test_an_address_or_key_that_cannot_be_one_is_wrong_usage(
        self, site: Site, named: list[str], told: str
    ) -> None:
        done = run("status", *named)

        assert (done.exit_code, told in done.stderr) == (2, True), done.stderr


def test_users_commands_load_nothing_of_the_server() -> None:
    heavy = ("flask", "sqlalchemy", "celery", "torch", "shared.settings", "shared.services")
    code = (
        "import sys\nfrom api.__main__ import main\n"
        "main(['status', '--help'], standalone_mode=False)\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert loaded.stdout.splitlines()[-1] == "[]"


def test_help_names_users_and_operators_commands() -> None:
    shown = said("--help")

    for name in ("submit", "status", "fetch", "cancel", "logs", "up", "doctor", "tenant"):
        assert f"  {name} " in shown


def test_the_version_is_the_packages() -> None:
    assert version("atelier") in said("--version")
