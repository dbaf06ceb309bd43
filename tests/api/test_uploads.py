"""Uploads: parts in any order become one file, or nothing of them is kept."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from threading import Barrier
from typing import Any

import pytest

from shared.services import assembly, uploads
from shared.storage import storage
from tests.api.client import Api, ok, refused
from tests.api.uploading import (
    FILES,
    PIECES,
    UPLOADS,
    WHOLE,
    Json,
    announce,
    cancel,
    complete,
    objects,
    refused_for_good,
    send,
    send_large,
)

After = Callable[[Callable[[], Any]], None]


@pytest.fixture
def after_assembling(monkeypatch: pytest.MonkeyPatch) -> After:
    """Has something happen between the last byte of a file and the transaction that names it."""
    assemble = assembly._assemble

    def do(something: Callable[[], Any]) -> None:
        def assemble_and_do(*arguments: Any) -> Any:
            file = assemble(*arguments)
            something()
            return file

        monkeypatch.setattr(assembly, "_assemble", assemble_and_do)

    return do


class TestCompleting:
    def test_parts_sent_at_once_and_in_any_order_become_the_file_in_the_order_named(
        self, api: Api, upload: Json
    ) -> None:
        with ThreadPoolExecutor(4) as pool:
            sent = list(pool.map(lambda piece: ok(send(api, upload, piece)), reversed(PIECES)))
        part_ids = [part["id"] for part in sent][::-1]

        md5 = hashlib.md5(WHOLE).hexdigest()
        completed = ok(complete(api, upload, part_ids, md5=md5.upper()))

        file = completed.pop("file")
        assert completed | {"file": None} == upload | {"status": "completed"}
        assert (file["object"], file["bytes"], file["status"]) == ("file", len(WHOLE), "processed")
        assert (file["filename"], file["purpose"]) == ("big.jsonl", "batch")
        assert file["sha256"] == hashlib.sha256(WHOLE).hexdigest()
        assert ok(api.get(f"{FILES}/{file['id']}")) == file
        assert api.get(f"{FILES}/{file['id']}/content").data == WHOLE

    def test_an_upload_and_its_parts_say_what_they_are(self, api: Api, upload: Json) -> None:
        part = ok(send(api, upload, b"abc"))

        assert upload["expires_at"] - upload["created_at"] == 3600
        told = {name: upload[name] for name in ("object", "bytes", "status", "file", "purpose")}
        assert told == {
            "object": "upload",
            "bytes": len(WHOLE),
            "status": "pending",
            "file": None,
            "purpose": "batch",
        }
        assert (part["object"], part["upload_id"]) == ("upload.part", upload["id"])
        assert part["created_at"] >= upload["created_at"]

    def test_of_the_parts_only_the_file_is_left(
        self, api: Api, upload: Json, part_ids: list[str]
    ) -> None:
        assert len(objects()) == 4

        file = ok(complete(api, upload, part_ids))["file"]

        assert [key.rpartition("/")[2] for key in objects()] == [file["id"]]
        ok(api.delete(f"{FILES}/{file['id']}"))
        assert objects() == []

    def test_the_file_expires_so_long_after_its_completion(self, api: Api) -> None:
        after = {"anchor": "created_at", "seconds": 7200}
        upload = ok(announce(api, bytes=3, expires_after=after))
        part = ok(send(api, upload, b"abc"))

        file = ok(complete(api, upload, [part["id"]]))["file"]

        assert file["expires_at"] - file["created_at"] == 7200

    def test_a_part_that_came_twice_need_not_be_named(self, api: Api) -> None:
        upload = ok(announce(api, bytes=3))
        ok(send(api, upload, b"abc"))
        again = ok(send(api, upload, b"abc"))

        ok(complete(api, upload, [again["id"]]))

        assert len(objects()) == 1

    def test_once_more_it_gives_the_same_answer_and_asked_otherwise_it_is_refused(
        self, api: Api, upload: Json, part_ids: list[str]
    ) -> None:
        first = ok(complete(api, upload, part_ids))

        assert ok(complete(api, upload, part_ids)) == first
        refused_for_good(complete(api, upload, part_ids[::-1]), "completed")
        assert len(ok(api.get(FILES))["data"]) == 1

    def test_two_at_once_make_one_file(
        self, api: Api, upload: Json, part_ids: list[str], after_assembling: After
    ) -> None:
        after_assembling(Barrier(2, timeout=20).wait)

        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: ok(complete(api, upload, part_ids)), range(2)))

        assert answers[0] == answers[1]
        assert [file["id"] for file in ok(api.get(FILES))["data"]] == [answers[0]["file"]["id"]]
        assert len(objects()) == 1

    def test_two_at_once_in_different_order_make_one_file_and_the_other_is_refused(
        self, api: Api, upload: Json, part_ids: list[str], after_assembling: After
    ) -> None:
        after_assembling(Barrier(2, timeout=20).wait)

        with ThreadPoolExecutor(2) as pool:
            orders = (part_ids, part_ids[::-1])
            answers = list(pool.map(lambda order: complete(api, upload, order), orders))

        assert sorted(answer.status_code for answer in answers) == [200, 409]
        assert len(objects()) == len(ok(api.get(FILES))["data"]) == 1

    def test_one_that_is_cancelled_meanwhile_leaves_nothing(
        self, api: Api, upload: Json, part_ids: list[str], after_assembling: After
    ) -> None:
        after_assembling(lambda: ok(cancel(api, upload)))

        refused_for_good(complete(api, upload, part_ids), "cancelled")

        assert objects() == []
        assert ok(api.get(FILES))["data"] == []

    def test_parts_that_are_lost_are_told_apart_from_parts_that_are_wrong(
        self, api: Api, upload: Json, part_ids: list[str]
    ) -> None:
        storage().delete(objects()[1])

        error = refused(complete(api, upload, part_ids), 409)

        assert "missing from storage; create another one" in error["message"]
        assert len(objects()) == 3


class TestRefusing:
    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"bytes": 0}, "bytes"),
            ({"bytes": 8 * 2**30 + 1}, "bytes"),
            ({"filename": ""}, "filename"),
            ({"purpose": "fun"}, "purpose"),
            ({"mime_type": None}, "mime_type"),
            ({"name": "x"}, "name"),
            ({"expires_after": {"anchor": "created_at"}}, "expires_after.seconds"),
            (
                {"expires_after": {"anchor": "created_at", "seconds": 60}},
                "expires_after.seconds",
            ),
            ({"expires_after": {"anchor": "now", "seconds": 3600}}, "expires_after.anchor"),
        ],
    )
    def test_an_announcement_is_refused_naming_the_field(
        self, api: Api, fields: Json, param: str
    ) -> None:
        assert refused(announce(api, **fields), 400)["param"] == param

    @pytest.mark.parametrize(
        ("chosen", "param"),
        [
            (lambda ids: ids[:3], "part_ids"),
            (lambda ids: [*ids[:3], ids[0]], "part_ids[3]"),
            (lambda ids: [*ids, "part_none"], "part_ids[4]"),
            (lambda ids: [], "part_ids"),
        ],
        ids=["too few", "twice", "unknown", "none"],
    )
    def test_parts_that_do_not_make_the_file_are_refused_and_kept(
        self,
        api: Api,
        upload: Json,
        part_ids: list[str],
        chosen: Callable[[list[str]], list[str]],
        param: str,
    ) -> None:
        assert refused(complete(api, upload, chosen(part_ids)), 400)["param"] == param

        assert len(objects()) == 4
        ok(complete(api, upload, part_ids))

    def test_a_part_of_another_upload_is_refused(
        self, api: Api, upload: Json, part_ids: list[str]
    ) -> None:
        other = ok(announce(api))

        error = refused(complete(api, other, part_ids), 400)

        assert error["param"] == "part_ids[0]"
        assert "is no part of this upload" in error["message"]

    def test_another_checksum_is_refused_and_the_right_order_may_follow(
        self, api: Api, upload: Json, part_ids: list[str]
    ) -> None:
        md5 = hashlib.md5(WHOLE).hexdigest()

        error = refused(complete(api, upload, part_ids[::-1], md5=md5), 400)

        assert (error["param"], len(objects())) == ("md5", 4)
        assert hashlib.md5(b"".join(PIECES[::-1])).hexdigest() in error["message"]
        assert ok(complete(api, upload, part_ids, md5=md5))["status"] == "completed"

    def test_a_checksum_that_is_none_is_refused(self, api: Api, upload: Json) -> None:
        assert refused(complete(api, upload, ["part_x"], md5="abc"), 400)["param"] == "md5"

    @pytest.mark.parametrize(
        ("form", "param"),
        [
            ({}, "data"),
            ({"data": "text"}, "data"),
            ({"data": b""}, "data"),
            ({"data": b"abc", "number": "1"}, "number"),
            ({"data": WHOLE + b"x"}, "data"),
        ],
    )
    def test_a_bad_part_is_refused_and_nothing_is_stored(
        self, api: Api, upload: Json, form: Json, param: str
    ) -> None:
        data = {
            name: (BytesIO(value), "upload") if isinstance(value, bytes) else value
            for name, value in form.items()
        }
        path = f"{UPLOADS}/{upload['id']}/parts"

        response = api.request("POST", path, data=data, content_type="multipart/form-data")

        assert refused(response, 400)["param"] == param
        assert objects() == []

    def test_a_part_over_64_megabytes_is_refused(self, api: Api) -> None:
        upload = ok(announce(api, bytes=2**30))

        for surplus_bytes in (1, 100_000):
            error = refused(send_large(api, upload, uploads.PART_BYTES + surplus_bytes), 413)
            assert "67108864 bytes" in error["message"]

        assert objects() == []
        ok(send_large(api, upload, uploads.PART_BYTES))

    def test_more_parts_than_an_upload_takes_are_refused(
        self, api: Api, upload: Json, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(uploads, "MOST_PARTS", 2)
        for piece in (b"a", b"b"):
            ok(send(api, upload, piece))

        assert "send larger ones" in refused(send(api, upload, b"c"), 400)["message"]

        assert len(objects()) == 2
