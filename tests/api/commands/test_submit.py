"""`atelier submit`: files become jobs, once, and are waited for."""

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest
from sqlalchemy import text

from shared.db import engine
from shared.tables.tenant import Tenant
from tests.api.commands.site import Fault, Site, run, said
from tests.waiting import until

Items = Callable[..., Path]
MODEL = ("--model", "stand-in")


def job_of(job_id: str) -> dict[str, Any]:
    return json.loads(said("status", job_id.strip(), "--json"))


def outputs_of(folder: Path, job_id: str) -> list[dict[str, Any]]:
    said("fetch", job_id.strip(), "--to", folder)
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_a_submitted_file_is_a_job_with_all_that_was_said_of_it(site: Site, items: Items) -> None:
    done = said(
        *("submit", items({"params": {}}), *MODEL, "--priority", "7"),
        *("--deadline", "2100-01-01T00:00:00+00:00", "--metadata", "a=b=c", "--metadata", "d="),
    )

    job = job_of(done)
    assert (job["state"], job["priority"], job["model"]) == ("validating", 7, "stand-in")
    assert job["metadata"] == {"a": "b=c", "d": ""}
    assert job["deadline"] == datetime(2100, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.usefixtures("workers")
class TestItems:
    def test_lines_may_be_items_or_their_params_alone(self, items: Items, tmp_path: Path) -> None:
        file = items({"custom_id": "a", "params": {"seed": 1}}, {"custom_id": "b", "seed": 2}, {})

        job_id = said("submit", file, *MODEL, "--wait")

        made = outputs_of(tmp_path / "to", job_id)
        assert [(each["custom_id"], each["seed"]) for each in made[:2]] == [("a", 1), ("b", 2)]
        assert len(made) == 3

    def test_lines_may_come_from_stdin(self, tmp_path: Path) -> None:
        job_id = said("submit", "-", *MODEL, "--wait", stdin='{"seed": 3}\n')

        assert [each["seed"] for each in outputs_of(tmp_path / "to", job_id)] == [3]

    def test_a_csv_file_has_an_item_a_row_with_values_as_the_family_takes_them(
        self, tmp_path: Path
    ) -> None:
        file = tmp_path / "orders.CSV"
        file.write_text(
            '\ufeffcustom_id,seed,shape,n,seconds\r\n007,5,12,2,0.5e-3\r\n,6,"a,\nb",,\r\n,,,,\r\n',
            encoding="utf-8",
        )

        job_id = said("submit", file, *MODEL, "--wait")

        # The two are run as they come, for their shapes are not the same.
        made = sorted(outputs_of(tmp_path / "to", job_id), key=lambda each: each["item"])
        asked = [(each["custom_id"], each["params"]["shape"], each["params"]["n"]) for each in made]
        assert asked == [("007", "12", 2), ("007", "12", 2), (None, "a,\nb", 1)]
        assert made[0]["params"]["seconds"] == 0.0005

    def test_a_faulty_row_is_named_as_the_spreadsheet_numbers_it(self, tmp_path: Path) -> None:
        file = tmp_path / "orders.csv"
        file.write_text("seed,colour\n1,\n2,red\n", encoding="utf-8")

        done = run("submit", file, *MODEL, "--wait")

        assert done.exit_code == 1
        assert "line 3.params.colour: there is no such field" in done.stderr

    @pytest.mark.parametrize(
        ("lines", "told"),
        [
            (b'{"seed": 1}\n\n{"seed": \n', "line 3: not JSON"),
            (b'{"seed": 1}\n{"seed": -1}\n', "line 2.params.seed: input should be greater"),
            (b'{"seed": 1}\n[]\n', "line 2: must be a JSON object"),
            (b"[" * 100_000 + b"\n", "line 1: not JSON"),
            (b'{"custom_id": "a"}\n{"custom_id": "a"}\n', "line 2.custom_id: 'a' occurs twice"),
            (b'{"seed": 1}\n{"custom_id": "\\u0000"}\n', "line 2.custom_id: holds a character"),
        ],
    )
    def test_a_refused_file_fails_with_the_line(
        self, tmp_path: Path, lines: bytes, told: str
    ) -> None:
        file = tmp_path / "items.jsonl"
        file.write_bytes(lines)

        done = run("submit", file, *MODEL, "--wait")

        assert done.exit_code == 1
        assert told in done.stderr


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("seed,seed\n1,2\n", "row 1: two columns have the same name"),
        ("seed,\n1,2\n", "row 1: column 2 has no name"),
        ("seed\n1\n2,3\n", "row 3: 2 cells under 1 columns"),
        ('seed\n"1\n', "line 2: not CSV"),
        ("seed\n\udcff\n", "not UTF-8"),
    ],
)
def test_a_csv_file_that_cannot_be_read_is_wrong_usage_and_nothing_is_sent(
    site: Site, tmp_path: Path, content: str, told: str
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(content, encoding="utf-8", errors="surrogateescape")

    done = run("submit", file, *MODEL)

    assert (done.exit_code, told in done.stderr) == (2, True), done.stderr
    assert not site.requests("POST", "/v1/files")


class TestOnce:
    def test_a_job_whose_answer_was_lost_is_submitted_once(self, site: Site, items: Items) -> None:
        site.faults = [Fault("POST", "/v1/files", 1), Fault("POST", "/jobs", 2)]

        job_id = said("submit", items({}), *MODEL).strip()

        jobs = json.loads(said("status", "--json"))["data"]
        assert [job["id"] for job in jobs] == [job_id]
        sent = site.requests("POST", "/api/v1/jobs")
        assert len(sent) == 3
        assert len({each["HTTP_IDEMPOTENCY_KEY"] for each in sent}) == 1

    def test_two_runs_are_two_jobs(self, site: Site, items: Items) -> None:
        assert said("submit", items({}), *MODEL) != said("submit", items({}), *MODEL)

    def test_two_runs_under_one_key_are_one_job(self, site: Site, items: Items) -> None:
        named = ("submit", items({"seed": 1}), *MODEL, "--idempotency-key", "order 4711")
        assert said(*named) == said(*named)

        items({"seed": 2})
        other = run(*named)

        assert other.exit_code == 3
        assert "Use a new key for a new request" in other.stderr

    def test_while_the_first_request_is_being_answered_the_second_waits_for_it(
        self, site: Site, tenant: Tenant, items: Items
    ) -> None:
        first = engine().connect()
        key = {"tenant": tenant.id, "key": "a/job"}
        first.execute(text(_CLAIM), key)
        process = _atelier("submit", items({}), *MODEL, "--idempotency-key", "a", stderr=PIPE)
        until(lambda: len(site.requests("POST", "/api/v1/jobs")) == 2)
        first.close()
        _, told = process.communicate(timeout=60)

        assert process.returncode == 0
        assert "still being answered. Try again in a moment. (status 409" in told.decode()


_CLAIM = "INSERT INTO idempotency (tenant_id, key, request_hash) VALUES (:tenant, :key, 'other')"


class TestWait:
    @pytest.mark.usefixtures("workers")
    def test_the_end_is_told_with_its_counts(self, items: Items) -> None:
        done = run("submit", items({}, {"fault": "refuse"}), *MODEL, "--wait")

        lines = done.stderr.splitlines()
        assert done.exit_code == 1
        assert lines[-1].endswith("partial: 1 of 2 done, 1 failed")
        assert "partial 2/2" in lines
        assert len(lines) == len(set(lines)), "a line that says nothing new"

    @pytest.mark.usefixtures("workers")
    def test_json_is_one_document_the_final_job(self, items: Items) -> None:
        done = run("submit", items({}), *MODEL, "--wait", "--json")

        job = json.loads(done.stdout)
        assert (done.exit_code, job["state"], job["counts"]["done"]) == (0, "succeeded", 1)

    def test_ctrl_c_leaves_the_job_running_and_says_how_to_look_at_it(
        self, site: Site, items: Items
    ) -> None:
        process = _atelier("submit", items({}), *MODEL, "--wait", stderr=PIPE)
        assert process.stdout is not None
        job_id = process.stdout.readline().decode().strip()
        assert process.stderr is not None
        process.stderr.readline()  # the first state: it waits now
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)

        assert process.returncode == 130
        assert f"`atelier status {job_id}`" in told.decode()
        assert "Traceback" not in told.decode()
        assert job_of(job_id)["state"] == "validating"

    @pytest.mark.usefixtures("workers")
    def test_on_a_terminal_there_is_a_bar(self, items: Items) -> None:
        ours, theirs = os.openpty()
        process = _atelier("submit", items({}), *MODEL, "--wait", stderr=theirs)
        os.close(theirs)
        process.communicate(timeout=60)
        shown = os.read(ours, 1 << 16).decode()
        os.close(ours)

        assert process.returncode == 0
        assert "100%" in shown
        assert "succeeded 1/1" in shown


def _atelier(*arguments: object, stderr: int) -> Popen[bytes]:
    command = [sys.executable, "-m", "api", *map(str, arguments)]
    return Popen(command, stdout=PIPE, stderr=stderr)


@pytest.mark.parametrize(
    ("wrong", "code", "told"),
    [
        (["--deadline", "2000-01-01"], 3, "deadline: it has passed"),
        (["--deadline", "tomorrow"], 2, "is not a time such as"),
        (["--metadata", "order"], 2, "is not a pair such as"),
        (["--priority", "101"], 2, "101 is not in the range"),
        (["--idempotency-key", "\n"], 2, "letters, digits or signs"),
        (["--model", "nothing"], 3, "model: no model 'nothing'"),
    ],
)
def test_what_is_wrong_is_said_and_makes_no_job(
    site: Site, items: Items, wrong: list[str], code: int, told: str
) -> None:
    done = run("submit", items({}), *MODEL, *wrong)

    assert (done.exit_code, told in done.stderr) == (code, True), done.stderr
    assert json.loads(said("status", "--json"))["data"] == []
