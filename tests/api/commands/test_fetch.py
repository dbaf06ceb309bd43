"""`atelier fetch`: every output as a file, and what the job wrote itself; checked, named safely,
taken up where it ended.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from subprocess import run as run_program
from typing import Any

import pytest

from api.client.names import file_name
from shared.states import Lane
from shared.storage import FolderStorage, read, storage
from tests.api.client import Api, ok
from tests.api.commands.site import Fault, Site, run, said
from tests.threads import draining, served

Finished = Callable[..., str]
Items = Callable[..., Path]


OUTPUT_FILE, ERROR_FILE = "output_file.jsonl", "error_file.jsonl"
NO_OUTPUTS = {"manifest.jsonl", OUTPUT_FILE, ERROR_FILE}


def manifest(folder: Path) -> list[dict[str, Any]]:
    return lines(folder / "manifest.jsonl")


def contents(folder: Path) -> dict[str, str]:
    """Every output's text by the name of its file."""
    files = [path for path in folder.iterdir() if path.name not in NO_OUTPUTS]
    return {path.name: path.read_text(encoding="utf-8") for path in files}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_output_is_a_file_and_the_manifest_says_which(
    finished: Finished, tmp_path: Path
) -> None:
    job_id = finished({"custom_id": "order-7", "params": {"seed": 4, "n": 2}}, {"seed": 9})
    to = tmp_path / "new" / "folder"

    done = run("fetch", job_id, "--to", to)

    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "4 fetched, 0 already there, 0 missing\n"
    first, second, third = sorted(manifest(to), key=lambda line: line["seed"])
    nameless = f"{third['item']}_0.txt"
    assert contents(to) == {
        "order-7_0.txt": "seed 4",
        "order-7_1.txt": "seed 5",
        nameless: "seed 9",
    }
    assert [first["file"], second["file"], third["file"]] == [
        "order-7_0.txt",
        "order-7_1.txt",
        nameless,
    ]
    assert (first["custom_id"], first["seed"], first["params"]["n"]) == ("order-7", 4, 2)
    assert third["custom_id"] is None
    for line in manifest(to):
        assert hashlib.sha256((to / line["file"]).read_bytes()).hexdigest() == line["sha256"]


def test_a_second_fetch_brings_only_what_is_missing_or_damaged(
    site: Site, finished: Finished, tmp_path: Path
) -> None:
    job_id = finished(*({"custom_id": f"i{seed}", "seed": seed} for seed in range(60)))
    said("fetch", job_id, "--to", tmp_path / "to")
    before = contents(tmp_path / "to")
    assert len(before) == 60, "more than one page"
    (tmp_path / "to" / "i3_0.txt").unlink()
    (tmp_path / "to" / "i4_0.txt").write_text("seed", encoding="utf-8")
    (tmp_path / "to" / "i5_0.txt").write_text("seed 6", encoding="utf-8")
    (tmp_path / "to" / "i6_0.txt.part").write_text("se", encoding="utf-8")
    (tmp_path / "to" / "manifest.jsonl").unlink()
    site.seen.clear()

    done = run("fetch", job_id, "--to", tmp_path / "to")

    assert done.stderr == "3 fetched, 58 already there, 0 missing\n"
    assert contents(tmp_path / "to") == before
    assert len(manifest(tmp_path / "to")) == 60
    assert len([1 for each in site.seen if each["PATH_INFO"].endswith("/content")]) == 3


def test_the_files_that_a_job_wrote_come_too_and_are_checked_and_kept(
    workers: None, items: Items, tmp_path: Path
) -> None:
    file = items({"custom_id": "good"}, {"custom_id": "bad", "params": {"fault": "refuse"}})
    job_id = run("submit", file, "--model", "stand-in", "--wait").stdout.strip()
    to = tmp_path / "to"

    said("fetch", job_id, "--to", to)

    assert [line["custom_id"] for line in lines(to / OUTPUT_FILE)] == ["good"]
    (failed,) = lines(to / ERROR_FILE)
    assert (failed["custom_id"], failed["error"]["code"]) == ("bad", "invalid_value")
    whole = (to / ERROR_FILE).read_bytes()
    (to / ERROR_FILE).write_bytes(whole[:-9])
    again = run("fetch", job_id, "--to", to)
    assert again.stderr == "1 fetched, 2 already there, 0 missing\n"
    assert (to / ERROR_FILE).read_bytes() == whole


def test_json_says_what_came_of_it(finished: Finished, api: Api, tmp_path: Path) -> None:
    job_id = finished({"custom_id": "a"}, {"custom_id": "b"})
    fetch = ("fetch", job_id, "--to", tmp_path / "to", "--json")

    came = json.loads(said(*fetch))

    tally = {"fetched": 3, "kept": 0, "missing": []}
    assert came == {"job": job_id, "state": "succeeded", **tally}
    file = ok(api.get(f"/api/v1/jobs/{job_id}"))["output_file"]
    ok(api.delete(f"/v1/files/{file}"))
    later = run(*fetch)
    assert later.exit_code == 1
    assert (json.loads(later.stdout)["fetched"], json.loads(later.stdout)["kept"]) == (0, 2)
    (missing,) = json.loads(later.stdout)["missing"]
    assert (missing["id"], missing["file"]) == (file, "output_file")
    assert missing["message"].startswith("No file ")


def test_content_that_is_not_what_the_server_says_is_never_kept(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.client.faults._FIRST_PAUSE_S", 0.01)
    job_id = finished({"custom_id": "a"}, {"custom_id": "b"}, {"custom_id": "c"})
    kept, damaged, lost = sorted(stored.key for stored in storage().list("") if _is_text(stored))
    (_folder() / damaged).write_bytes(b"another text")
    (_folder() / lost).unlink()

    done = run("fetch", job_id, "--to", tmp_path / "to")

    assert done.exit_code == 1
    assert "2 fetched, 0 already there, 2 missing" in done.stderr
    assert "what came does not have the hash that it should" in done.stderr
    assert "Nothing is stored under" in done.stderr
    assert len(manifest(tmp_path / "to")) == 1
    assert list(contents(tmp_path / "to")) == [manifest(tmp_path / "to")[0]["file"]]
    assert read(kept).decode() in contents(tmp_path / "to").values()


def _folder() -> Path:
    folder = storage()
    assert isinstance(folder, FolderStorage)
    return folder.folder


def _is_text(stored: Any) -> bool:
    return read(stored.key).startswith(b"seed ")


def test_an_interrupted_download_begins_again(
    site: Site, finished: Finished, tmp_path: Path
) -> None:
    job_id = finished({"seed": 1})
    site.faults = [Fault("GET", "/content", 2), Fault("GET", "/content", 1, "503 Busy")]

    done = run("fetch", job_id, "--to", tmp_path / "to")

    assert done.exit_code == 0
    assert list(contents(tmp_path / "to").values()) == ["seed 1"]


def test_a_link_to_the_storage_is_followed_without_the_key(
    site: Site, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api_key: str
) -> None:
    job_id = finished({"seed": 1}, {"seed": 2})
    asked: list[dict[str, Any]] = []

    def other_host(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        asked.append(environ)
        start("200 OK", [])
        return [read(environ["QUERY_STRING"])]

    with served(other_host) as address:
        link = lambda self, key, **_: f"{address}/signed?{key}"  # noqa: E731
        monkeypatch.setattr(FolderStorage, "url", link)
        said("fetch", job_id, "--to", tmp_path / "to")

    assert sorted(contents(tmp_path / "to").values()) == ["seed 1", "seed 2"]
    assert len(asked) == 3
    assert not any(api_key in str(environ) for environ in asked)
    assert all(api_key in each["HTTP_AUTHORIZATION"] for each in site.seen)


def test_what_is_made_so_far_can_be_fetched_and_the_rest_later(
    site: Site, items: Items, tmp_path: Path
) -> None:
    job_id = said("submit", items({"seed": 1}), "--model", "stand-in").strip()

    early = run("fetch", job_id, "--to", tmp_path / "to")

    assert early.exit_code == 0
    assert f"{job_id} is validating: fetch again for what is not made yet" in early.stderr
    assert manifest(tmp_path / "to") == []

    with draining(Lane.LIGHT, Lane.TEXT):
        said("fetch", job_id, "--to", tmp_path / "to", "--wait")
    assert list(contents(tmp_path / "to").values()) == ["seed 1"]


def test_waiting_for_a_job_that_does_not_succeed_is_exit_code_1(
    finished: Finished, workers: None, items: Items, tmp_path: Path
) -> None:
    file = items({"custom_id": "a"}, {"fault": "refuse"})
    job_id = said("submit", file, "--model", "stand-in").strip()

    done = run("fetch", job_id, "--to", tmp_path / "to", "--wait")

    assert done.exit_code == 1
    assert list(contents(tmp_path / "to")) == ["a_0.txt"]
    assert run("fetch", job_id, "--to", tmp_path / "to").exit_code == 0


def test_on_a_terminal_the_files_are_counted(finished: Finished, tmp_path: Path) -> None:
    job_id = finished({"seed": 1, "n": 3})
    ours, theirs = os.openpty()

    fetch = [sys.executable, "-m", "api", "fetch", job_id, "--to", str(tmp_path / "to")]
    run_program(fetch, stderr=theirs, check=True)

    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "\r3 of the outputs are here\r\n4 fetched" in shown


def test_a_folder_that_cannot_be_written_to_is_said(finished: Finished, tmp_path: Path) -> None:
    job_id = finished({"seed": 1})
    (tmp_path / "file").touch()

    done = run("fetch", job_id, "--to", tmp_path / "file" / "below")

    assert done.exit_code == 1
    assert "cannot write to" in done.stderr


def test_hostile_custom_ids_stay_in_the_folder_under_names_of_their_own(
    finished: Finished, tmp_path: Path
) -> None:
    hostile = ["../../x", "..\\..\\x", "/etc/x", "-rf", ".x", "..", "x/y", "x y", "x-y", "é" * 255]
    job_id = finished(*({"custom_id": each} for each in hostile))
    to = tmp_path / "a" / "b" / "c"

    said("fetch", job_id, "--to", to)

    assert len(contents(to)) == len(hostile)
    assert all(name[0] not in ".-" for name in contents(to))
    assert sorted(tmp_path.rglob("*_0.txt")) == sorted(to / name for name in contents(to))
    assert "x-y_0.txt" in contents(to)


def test_names_are_safe_and_different_whatever_a_server_says() -> None:
    custom_ids = [
        *("a", "A", "a/b", "a-b", "a b", "a\x00b", "", ".", "~", "a~b", "item_1", "ITEM_1"),
        *("n" * 300, "n" * 301, "\U0001f600" * 300, "\ud800", "con", "é", "e\u0301"),
        None,
    ]
    item = {"item": "item_1", "index": 0, "media_type": "image/png"}

    names = [file_name({**item, "custom_id": each}, folds_case=True) for each in custom_ids]

    assert len({name.lower() for name in names}) == len(custom_ids)
    for name in names:
        assert len(name.encode()) <= 250
        assert not set(name) & set('/\\\x00 :*?"<>|')
        assert name[0] not in ".-"


@pytest.mark.parametrize(
    ("media_type", "extension"),
    [
        ("image/png", ".png"),
        ("text/plain; charset=utf-8", ".txt"),
        ("video/mp4", ".mp4"),
        ("application/../../x", ".bin"),
    ],
)
def test_the_extension_is_the_media_types(media_type: str, extension: str) -> None:
    output = {"item": "item_1", "index": 3, "media_type": media_type, "custom_id": None}

    assert file_name(output, folds_case=False) == f"item_1_3{extension}"
