"""Files: uploaded, listed, fetched as they were sent, deleted."""

import hashlib
from io import BytesIO
from itertools import chain
from typing import Any

import pytest
from werkzeug.test import TestResponse

from shared.storage import storage
from shared.tables.tenant import Tenant
from tests.api.client import JOBS, Api, ok, refused, run_queued, walk
from tests.ledger import execute
from tests.settings import forget_settings

FILES = "/v1/files"
EVERY_BYTE = bytes(range(256)) * 1000


def test_a_file_comes_back_as_it_was_sent(api: Api) -> None:
    file = ok(api.upload(EVERY_BYTE, "clips.zip", "fine-tune"))

    assert (file["object"], file["filename"], file["purpose"]) == ("file", "clips.zip", "fine-tune")
    assert (file["bytes"], file["status"]) == (len(EVERY_BYTE), "processed")
    assert (file["expires_at"], file["status_details"]) == (None, None)
    assert file["sha256"] == hashlib.sha256(EVERY_BYTE).hexdigest()
    assert ok(api.get(f"{FILES}/{file['id']}")) == file
    assert api.get(f"{FILES}/{file['id']}/content").data == EVERY_BYTE


def test_head_tells_of_content_without_sending_it(api: Api) -> None:
    file = ok(api.upload(b"abc"))

    response = api.request("HEAD", f"{FILES}/{file['id']}/content")

    assert (response.status_code, response.data) == (200, b"")


def test_a_deleted_file_is_gone_from_list_and_storage(api: Api) -> None:
    file = ok(api.upload(b"abc"))
    kept = ok(api.upload(b"def"))

    deleted = ok(api.delete(f"{FILES}/{file['id']}"))

    assert deleted == {"id": file["id"], "object": "file", "deleted": True}
    refused(api.get(f"{FILES}/{file['id']}"), 404)
    refused(api.get(f"{FILES}/{file['id']}/content"), 404)
    refused(api.delete(f"{FILES}/{file['id']}"), 404)
    assert [each["id"] for each in ok(api.get(FILES))["data"]] == [kept["id"]]
    assert len(list(storage().list(""))) == 1


def test_a_file_is_kept_while_a_data_set_is_being_prepared_from_it(api: Api) -> None:
    file = ok(api.upload(b"text\na\n", "rows.csv", "fine-tune"))
    body = {"name": "rows", "modality": "text", "files": [file["id"]]}
    ok(api.post("/api/v1/datasets", body), 202)

    assert refused(api.delete(f"{FILES}/{file['id']}"), 409)["code"] == "conflict"
    ok(api.get(f"{FILES}/{file['id']}"))


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"purpose": "batch"}, "file"),
        ({"purpose": "batch", "file": "text"}, "file"),
        ({"file": "binary"}, "purpose"),
        ({"file": "binary", "purpose": "fun"}, "purpose"),
        ({"file": "binary", "purpose": "batch", "name": "x"}, "name"),
        ({"file": "empty", "purpose": "batch"}, "file"),
    ],
)
def test_a_bad_form_is_refused_naming_the_field_and_nothing_is_stored(
    api: Api, form: dict[str, str], param: str
) -> None:
    contents = {"binary": b"abc", "empty": b""}
    data = {
        name: (BytesIO(contents[value]), "a.txt") if value in contents else value
        for name, value in form.items()
    }

    error = refused(api.request("POST", FILES, data=data, content_type="multipart/form-data"), 400)

    assert error["param"] == param
    assert ok(api.get(FILES))["data"] == []
    assert list(storage().list("")) == []


def expiring(api: Api, content: bytes = b"abc", **fields: Any) -> TestResponse:
    """Upload with fields of `expires_after`."""
    form: dict[str, Any] = {"file": (BytesIO(content), "a.jsonl"), "purpose": "batch"}
    form |= {f"expires_after[{name}]": value for name, value in fields.items()}
    return api.request("POST", FILES, data=form)


def let_expire() -> None:
    """As if the time of every file that has one were over."""
    execute("UPDATE files SET expires_at = now() WHERE expires_at IS NOT NULL")


@pytest.mark.parametrize("seconds", [3600, 2_592_000])
def test_a_file_says_when_it_expires(api: Api, seconds: int) -> None:
    file = ok(expiring(api, anchor="created_at", seconds=seconds))

    assert file["expires_at"] - file["created_at"] == seconds
    assert ok(api.get(f"{FILES}/{file['id']}")) == file
    assert ok(api.get(FILES))["data"] == [file]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"anchor": "created_at", "seconds": 3599}, "expires_after[seconds]"),
        ({"anchor": "created_at", "seconds": 2_592_001}, "expires_after[seconds]"),
        ({"anchor": "created_at", "seconds": "soon"}, "expires_after[seconds]"),
        ({"anchor": "last_use", "seconds": 3600}, "expires_after[anchor]"),
        ({"seconds": 3600}, "expires_after[anchor]"),
        ({"anchor": "created_at"}, "expires_after[seconds]"),
        ({"anchor": "created_at", "seconds": 3600, "minutes": 1}, "expires_after[minutes]"),
    ],
)
def test_an_expiry_that_makes_no_sense_is_refused_and_nothing_is_stored(
    api: Api, fields: dict[str, Any], param: str
) -> None:
    assert refused(expiring(api, **fields), 400)["param"] == param

    assert list(storage().list("")) == []


@pytest.mark.usefixtures("stand_in")
def test_an_expired_file_is_gone_for_every_reader_at_once(api: Api) -> None:
    path = f"{FILES}/{ok(expiring(api, anchor='created_at', seconds=3600))['id']}"
    kept = ok(api.upload(b"def"))
    let_expire()

    file_id = path.rpartition("/")[2]
    refused(api.get(path), 404)
    refused(api.get(f"{path}/content"), 404)
    refused(api.delete(path), 404)
    assert ok(api.get(FILES))["data"] == [kept]
    dataset = {"name": "rows", "modality": "text", "files": [file_id]}
    assert refused(api.post("/api/v1/datasets", dataset), 404)["param"] == "files[0]"
    job = {"kind": "generation", "model": "stand-in", "input_file": file_id}
    assert refused(api.post(JOBS, job), 404)["param"] == "input_file"


@pytest.mark.usefixtures("stand_in")
def test_a_job_that_was_accepted_reads_its_file_though_it_expired_since(api: Api) -> None:
    file = ok(expiring(api, b'{"params": {}}', anchor="created_at", seconds=3600))
    job = {"kind": "generation", "model": "stand-in", "input_file": file["id"]}
    job = ok(api.post(JOBS, job), 202)
    let_expire()

    run_queued()

    assert ok(api.get(f"{JOBS}/{job['id']}"))["state"] == "succeeded"


def test_a_data_set_that_was_accepted_is_prepared_though_its_file_expired_since(api: Api) -> None:
    rows = b"".join(b'{"text": "row %d"}\n' % number for number in range(20))
    file = ok(expiring(api, rows, anchor="created_at", seconds=3600))
    body = {"name": "rows", "modality": "text", "files": [file["id"]]}
    dataset = ok(api.post("/api/v1/datasets", body), 202)
    let_expire()

    run_queued()

    assert ok(api.get(f"/api/v1/datasets/{dataset['id']}"))["state"] == "ready"


def test_a_body_that_is_no_form_is_refused(api: Api) -> None:
    error = refused(api.post(FILES, {"file": "abc", "purpose": "batch"}), 400)

    assert error["param"] == "file"


@pytest.mark.parametrize("surplus_bytes", [1, 100_000])
def test_a_file_over_the_limit_is_refused_and_leaves_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch, surplus_bytes: int
) -> None:
    monkeypatch.setenv("ATELIER_FILE_LIMIT", "1000")
    forget_settings()

    error = refused(api.upload(b"x" * (1000 + surplus_bytes)), 413)
    assert "1000 bytes" in error["message"]

    assert list(storage().list("")) == []
    ok(api.upload(b"x" * 1000))


def test_pages_of_files_give_every_file_once(api: Api) -> None:
    made = [ok(api.upload(b"abc"))["id"] for _ in range(45)]

    pages = list(walk(lambda **query: api.get(FILES, **query), limit=20))

    assert [len(page) for page in pages] == [20, 20, 5]
    assert list(chain(*pages)) == made[::-1]
    assert [row["id"] for row in ok(api.get(FILES))["data"]] == made[::-1]


def test_a_list_can_begin_with_the_oldest(api: Api) -> None:
    made = [ok(api.upload(b"abc"))["id"] for _ in range(3)]

    page = ok(api.get(FILES, order="asc", limit=2))

    assert [row["id"] for row in page["data"]] == made[:2]
    rest = ok(api.get(FILES, order="asc", after=page["last_id"]))
    assert ([row["id"] for row in rest["data"]], rest["has_more"]) == (made[2:], False)


def test_a_list_can_be_of_one_purpose(api: Api) -> None:
    ok(api.upload(b"abc", purpose="batch"))
    wanted = ok(api.upload(b"abc", purpose="fine-tune"))

    assert ok(api.get(FILES, purpose="fine-tune"))["data"] == [wanted]


def test_the_same_upload_under_the_same_key_makes_one_file(api: Api, tenant: Tenant) -> None:
    key = {"Idempotency-Key": "a"}
    first = ok(api.upload(b"abc", headers=key))

    again = ok(api.upload(b"abc", headers=key))
    other = refused(api.upload(b"other", headers=key), 422)

    assert again == first
    assert other["code"] == "idempotency_key_reused"
    assert len(ok(api.get("/v1/files"))["data"]) == 1
    assert len(list(storage().list(f"{tenant.id}/files/"))) == 1
