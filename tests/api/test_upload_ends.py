"""How uploads end, what they take of a quota, and what upkeep deletes of them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from shared.db import transaction
from shared.errors import StorageUnavailable
from shared.services import tenants, uploads
from shared.storage import storage
from shared.tables.tenant import Tenant
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
)
from tests.ledger import execute
from worker import upkeep


class TestEnding:
    def test_a_completed_one_takes_nothing_more(
        self, api: Api, upload: Json, part_ids: list[str]
    ) -> None:
        ok(complete(api, upload, part_ids))

        refused_for_good(send(api, upload, b"more"), "completed")
        refused_for_good(cancel(api, upload), "completed")
        assert len(objects()) == 1

    def test_a_cancelled_one_keeps_nothing_and_takes_nothing_more(
        self, api: Api, upload: Json, part_ids: list[str]
    ) -> None:
        cancelled = ok(cancel(api, upload))

        assert cancelled == upload | {"status": "cancelled"}
        assert objects() == []
        assert ok(cancel(api, upload)) == cancelled
        refused_for_good(send(api, upload, b"more"), "cancelled")
        refused_for_good(complete(api, upload, part_ids), "cancelled")

    def test_an_expired_one_takes_nothing_more(
        self, api: Api, upload: Json, part_ids: list[str]
    ) -> None:
        execute("UPDATE uploads SET expires_at = now()")

        refused_for_good(send(api, upload, b"more"), "expired")
        refused_for_good(complete(api, upload, part_ids), "expired")
        refused_for_good(cancel(api, upload), "expired")
        assert len(objects()) == 4


class TestQuota:
    @pytest.fixture
    def room(self, tenant: Tenant) -> Callable[[int], None]:
        """Sets how much the tenant may store."""

        def set_room(most: int) -> None:
            with transaction() as session:
                tenants.change_tenant(session, tenant.name, {"max_bytes": most})

        return set_room

    def test_what_is_announced_counts_at_once_and_its_parts_do_not_count_again(
        self, api: Api, room: Callable[[int], None]
    ) -> None:
        room(len(WHOLE))
        upload = ok(announce(api))

        assert refused(announce(api, bytes=1), 429)["code"] == "storage_full"
        assert refused(api.upload(b"x"), 429)["code"] == "storage_full"
        part_ids = [ok(send(api, upload, piece))["id"] for piece in PIECES]
        file = ok(complete(api, upload, part_ids))["file"]
        assert refused(announce(api, bytes=1), 429)["code"] == "storage_full"
        ok(api.delete(f"{FILES}/{file['id']}"))
        ok(announce(api))

    def test_a_part_beyond_what_was_announced_needs_room_of_its_own(
        self, api: Api, room: Callable[[int], None]
    ) -> None:
        room(5)
        upload = ok(announce(api, bytes=3))
        ok(send(api, upload, b"abc"))

        assert refused(send(api, upload, b"abc"), 429)["code"] == "storage_full"
        assert len(objects()) == 1
        ok(send(api, upload, b"ab"))

    def test_what_was_cancelled_is_room_again(
        self, api: Api, upload: Json, part_ids: list[str], room: Callable[[int], None]
    ) -> None:
        room(len(WHOLE))
        ok(cancel(api, upload))

        ok(announce(api))

    def test_of_announcements_at_once_no_more_are_accepted_than_there_is_room_for(
        self, api: Api, room: Callable[[int], None]
    ) -> None:
        room(3 * len(WHOLE))

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: announce(api).status_code, range(8)))

        assert sorted(answers) == [200] * 3 + [429] * 5


class TestRepeating:
    def test_the_same_announcement_under_the_same_key_is_one_upload(self, api: Api) -> None:
        body = {"filename": "a", "purpose": "batch", "bytes": 3, "mime_type": "text/plain"}
        first, again = (ok(api.post(UPLOADS, body, idempotency_key="a")) for _ in range(2))

        assert first == again

    def test_the_same_part_under_the_same_key_is_kept_once(self, api: Api, upload: Json) -> None:
        key = {"Idempotency-Key": "a"}
        first, again = (ok(send(api, upload, b"abc", **key)) for _ in range(2))

        assert first == again
        assert len(objects()) == 1
        assert refused(send(api, upload, b"other", **key), 422)["code"] == "idempotency_key_reused"
        assert len(objects()) == 1

    def test_a_completion_holds_its_key_and_gives_it_back_when_refused(
        self, api: Api, upload: Json, part_ids: list[str]
    ) -> None:
        path = f"{UPLOADS}/{upload['id']}/complete"
        wrong, right = {"part_ids": part_ids[:1]}, {"part_ids": part_ids}

        assert refused(api.post(path, wrong, idempotency_key="a"), 400)["param"] == "part_ids"
        first = ok(api.post(path, right, idempotency_key="a"))

        assert ok(api.post(path, right, idempotency_key="a")) == first
        error = refused(api.post(path, wrong, idempotency_key="a"), 422)
        assert error["code"] == "idempotency_key_reused"


class TestUpkeep:
    def let_pass(self, hours: float) -> None:
        """As if all uploads had been announced so much earlier."""
        execute(f"UPDATE uploads SET expires_at = expires_at - interval '{hours} hours'")

    def test_parts_of_an_expired_one_are_deleted_once_no_completion_can_read_them(
        self, api: Api, upload: Json, part_ids: list[str]
    ) -> None:
        self.let_pass(1.9)
        upkeep.tidy_uploads()
        assert len(objects()) == 4

        self.let_pass(0.2)
        upkeep.tidy_uploads()

        assert objects() == []
        refused_for_good(complete(api, upload, part_ids), "expired")

    def test_one_that_is_not_over_is_left_alone(
        self, api: Api, upload: Json, part_ids: list[str]
    ) -> None:
        upkeep.tidy_uploads()

        ok(complete(api, upload, part_ids))

    def test_parts_that_could_not_be_deleted_at_once_are_deleted_later(
        self, api: Api, upload: Json, part_ids: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(key: str) -> None:
            raise StorageUnavailable

        with monkeypatch.context() as broken:
            broken.setattr(storage(), "delete", fail)
            file = ok(complete(api, upload, part_ids))["file"]
        assert len(objects()) == 5

        upkeep.tidy_uploads()

        assert [key.rpartition("/")[2] for key in objects()] == [file["id"]]

    def test_a_file_that_no_row_came_to_name_is_deleted_and_the_upload_can_be_completed(
        self, api: Api, upload: Json, part_ids: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise OperationalError("COMMIT", None, Exception("the connection is lost"))

        with monkeypatch.context() as broken:
            broken.setattr(uploads, "complete", fail)
            refused(complete(api, upload, part_ids), 503)
        assert len(objects()) == 5

        file = ok(complete(api, upload, part_ids))["file"]
        assert len(objects()) == 2, "nobody knows yet whether a row names it"
        self.let_pass(25.1)
        upkeep.tidy_uploads()

        assert [key.rpartition("/")[2] for key in objects()] == [file["id"]]
        assert api.get(f"{FILES}/{file['id']}/content").data == WHOLE
        refused(complete(api, upload, part_ids), 404)

    def test_a_file_whose_writing_was_cut_off_is_deleted(
        self, installation: Path, api: Api, tenant: Tenant, upload: Json, part_ids: list[str]
    ) -> None:
        draft = installation / "objects" / uploads.folder(tenant.id, upload["id"]) / ".put-x"
        draft.write_bytes(WHOLE[:1000])
        upkeep.tidy_uploads()
        assert draft.exists(), "it may be that it is still being written"

        self.let_pass(25.1)
        upkeep.tidy_uploads()

        assert not draft.exists()

    def test_it_changes_nothing_twice(self, api: Api, upload: Json, part_ids: list[str]) -> None:
        file = ok(complete(api, upload, part_ids))["file"]
        self.let_pass(25.1)
        for _ in range(2):
            upkeep.tidy_uploads()

        assert [key.rpartition("/")[2] for key in objects()] == [file["id"]]
