"""Data sets: asked for, checked, listed. What preparation makes of them is tested elsewhere."""

from itertools import chain
from typing import Any

import pytest

from tests.api.client import Api, ok, refused, walk

DATASETS = "/api/v1/datasets"


@pytest.fixture
def file_id(api: Api) -> str:
    """The id of an uploaded table."""
    return str(ok(api.upload(b"text\nhello\n", "rows.csv", "fine-tune"))["id"])


@pytest.fixture
def body(file_id: str) -> dict[str, Any]:
    """A good request."""
    return {"name": "rows", "modality": "text", "files": [file_id]}


def test_a_new_data_set_is_being_prepared_by_a_job(api: Api, body: dict[str, Any]) -> None:
    made = ok(api.post(DATASETS, body), 202)

    assert (made["object"], made["name"], made["version"]) == ("dataset", "rows", 1)
    assert (made["state"], made["report"], made["files"]) == ("preparing", None, body["files"])
    assert made["options"]["column"] == "text", "defaults are written down"
    job = ok(api.get(f"/api/v1/jobs/{made['job']}"))
    assert (job["kind"], job["state"], job["dataset"]) == ("ingestion", "queued", made["id"])
    assert ok(api.get(f"{DATASETS}/{made['id']}")) == made


def test_a_name_used_again_gets_its_next_version(api: Api, body: dict[str, Any]) -> None:
    versions = [ok(api.post(DATASETS, body), 202)["version"] for _ in range(3)]

    assert versions == [1, 2, 3]


def test_a_repeat_under_one_key_makes_one_data_set(api: Api, body: dict[str, Any]) -> None:
    first = ok(api.post(DATASETS, body, idempotency_key="a"), 202)

    assert ok(api.post(DATASETS, body, idempotency_key="a"), 202) == first
    assert len(ok(api.get(DATASETS))["data"]) == 1


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"name": "Rows"}, 400, "name"),
        ({"name": ""}, 400, "name"),
        ({"name": "a/b"}, 400, "name"),
        ({"name": "a@1"}, 400, "name"),
        ({"modality": "smell"}, 400, "modality"),
        ({"modality": "audio"}, 400, "modality"),
        ({"files": []}, 400, "files"),
        ({"files": "file-x"}, 400, "files"),
        ({"files": ["file-x"]}, 404, "files[0]"),
        ({"file": "x"}, 400, "file"),
        ({"options": {"colum": "a"}}, 400, "options.colum"),
        ({"options": {"test": 1.5}}, 400, "options.test"),
        ({"options": {"column": "a", "label_column": "a"}}, 400, "options"),
        ({"modality": "image", "options": {"size": 33}}, 400, "options.size"),
        ({"modality": "image", "options": {"column": "a"}}, 400, "options.column"),
    ],
)
def test_a_bad_request_is_refused_naming_the_field(
    api: Api, body: dict[str, Any], change: dict[str, Any], status: int, param: str
) -> None:
    error = refused(api.post(DATASETS, {**body, **change}), status)

    assert error["param"] == param
    assert param in error["message"]
    assert ok(api.get(DATASETS))["data"] == []


def test_another_tenants_file_cannot_be_used(api: Api, stranger: Api, body: dict[str, Any]) -> None:
    error = refused(stranger.post(DATASETS, body), 404)

    assert error["param"] == "files[0]"


def test_there_is_no_sheet_before_it_is_ready(api: Api, body: dict[str, Any]) -> None:
    made = ok(api.post(DATASETS, body), 202)

    refused(api.get(f"{DATASETS}/{made['id']}/sheet"), 404)


def test_a_cancelled_preparation_is_a_failed_data_set_that_can_be_retried(
    api: Api, body: dict[str, Any]
) -> None:
    made = ok(api.post(DATASETS, body), 202)
    ok(api.post(f"/api/v1/jobs/{made['job']}/cancel"))
    failed = ok(api.get(f"{DATASETS}/{made['id']}"))
    assert (failed["state"], failed["report"]["error"]["code"]) == ("failed", "cancelled")

    ok(api.post(f"/api/v1/jobs/{made['job']}/retry"))

    again = ok(api.get(f"{DATASETS}/{made['id']}"))
    assert (again["state"], again["report"]) == ("preparing", None)


def test_what_is_not_ready_cannot_be_trained_on(api: Api, body: dict[str, Any]) -> None:
    ok(api.post(DATASETS, body), 202)
    training = {"kind": "training", "family": "causal_lm", "dataset": "rows", "model": "new"}

    error = refused(api.post("/api/v1/jobs", training), 409)

    assert (error["code"], error["param"]) == ("conflict", "dataset")


def test_pages_give_every_data_set_once(api: Api, body: dict[str, Any]) -> None:
    made = [ok(api.post(DATASETS, body), 202)["id"] for _ in range(45)]

    pages = list(walk(lambda **query: api.get(DATASETS, **query), limit=20, order="asc"))

    assert [len(page) for page in pages] == [20, 20, 5]
    assert list(chain(*pages)) == made
