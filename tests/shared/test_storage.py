"""Storage: a folder and an S3 server behave alike, to their faults."""

import hashlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.errors import Invalid, NotFound, StorageUnavailable, TooLarge
from shared.s3 import S3Storage, make_client
from shared.storage import (
    FolderStorage,
    HashingReader,
    Storage,
    storage,
)
from tests.ceph import Ceph
from tests.settings import forget_settings

LARGE = bytes(range(256)) * 40_000
"""Ten megabytes: more than one part of an S3 upload."""


@pytest.fixture
def settings_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()
    forget_settings()


def use(
    settings_for: pytest.MonkeyPatch, s3_server: Ceph, url: str = "s3://atelier/some/where"
) -> None:
    settings_for.setenv("ATELIER_STORAGE_URL", url)
    settings_for.setenv("ATELIER_S3_ENDPOINT", s3_server.endpoint)
    settings_for.setenv("ATELIER_S3_PUBLIC_ENDPOINT", s3_server.endpoint)
    settings_for.setenv("ATELIER_S3_ACCESS_KEY", s3_server.access_key)
    settings_for.setenv("ATELIER_S3_SECRET_KEY", s3_server.secret_key)
    forget_settings()


@pytest.fixture
def bucket(s3_server: Ceph, settings_for: pytest.MonkeyPatch) -> S3Storage:
    """The storage of the settings, an empty bucket of that server."""
    use(settings_for, s3_server)
    made = storage()
    assert isinstance(made, S3Storage)
    made.client.create_bucket(Bucket="atelier")
    for stored in list(made.list("")):
        made.delete(stored.key)
    return made


@pytest.fixture(params=["folder", "bucket"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Each kind of storage in turn."""
    if request.param == "folder":
        return FolderStorage(tmp_path / "objects")
    return request.getfixturevalue("bucket")


def put(target: Storage, key: str, content: bytes = b"abc") -> None:
    target.put(key, BytesIO(content), media_type="text/plain")


def content_of(target: Storage, key: str) -> bytes:
    with target.open(key) as source:
        return source.read()


@pytest.mark.parametrize("content", [b"", b"abc", LARGE], ids=["empty", "small", "large"])
def test_what_was_put_comes_back(either: Storage, content: bytes) -> None:
    put(either, "a/b", content)

    assert content_of(either, "a/b") == content


class Trickle:
    """Gives fewer bytes than it is asked for."""

    def __init__(self, content: bytes):
        self.rest = BytesIO(content)

    def read(self, size: int = -1, /) -> bytes:
        return self.rest.read(min(size, 100_000) if size >= 0 else 100_000)


@pytest.mark.parametrize("content", [LARGE[:1_000_000], LARGE], ids=["small", "large"])
def test_a_source_that_gives_a_little_at_a_time_is_stored_whole(
    either: Storage, content: bytes
) -> None:
    either.put("a/b", Trickle(content), media_type="text/plain")

    assert content_of(either, "a/b") == content


def test_a_body_that_was_damaged_on_its_way_is_refused(bucket: S3Storage) -> None:
    def damage(params: dict[str, Any], **_: Any) -> None:
        params["body"] = b"other bytes"

    bucket.client.meta.events.register("before-call.s3.PutObject", damage)

    with pytest.raises(StorageUnavailable, match="BadDigest"):
        put(bucket, "a/b", b"these bytes")


def test_a_second_put_replaces_the_first(either: Storage) -> None:
    put(either, "a/b", b"first")
    put(either, "a/b", b"second")

    assert content_of(either, "a/b") == b"second"
    assert [stored.key for stored in either.list("")] == ["a/b"]


def test_what_is_not_there_is_not_found_and_deleting_it_is_no_error(either: Storage) -> None:
    with pytest.raises(NotFound, match="a/none"):
        either.open("a/none")

    either.delete("a/none")


def test_a_deleted_object_is_gone(either: Storage) -> None:
    put(either, "a/b")
    put(either, "a/c")

    either.delete("a/b")

    with pytest.raises(NotFound):
        either.open("a/b")
    assert [stored.key for stored in either.list("")] == ["a/c"]


def test_a_list_tells_keys_below_a_prefix_with_their_sizes(either: Storage) -> None:
    for key in ("a/1", "a/b/2", "ab/3", "c/4"):
        put(either, key, key.encode() * 2)

    assert {(stored.key, stored.bytes) for stored in either.list("a/")} == {
        ("a/1", 6),
        ("a/b/2", 10),
    }
    assert {stored.key for stored in either.list("a")} == {"a/1", "a/b/2", "ab/3"}
    assert list(either.list("none")) == []
    assert all(stored.modified_at > 1e9 for stored in either.list(""))


def test_a_source_that_fails_leaves_nothing_behind(either: Storage) -> None:
    put(either, "a/kept", b"old")

    for key in ("a/new", "a/kept"):
        with pytest.raises(TooLarge):
            either.put(key, HashingReader(BytesIO(LARGE), limit=100), media_type="text/plain")

    assert [stored.key for stored in either.list("")] == ["a/kept"]
    assert content_of(either, "a/kept") == b"old"


def cut_off(target: Storage, key: str) -> None:
    """A put that ended half-way, as when its process is killed."""
    if isinstance(target, FolderStorage):
        put(target, key)
        with target._file_beside(target.folder / key) as draft:
            draft.write(b"half")
        target.delete(key)
    elif isinstance(target, S3Storage):
        where = {"Bucket": target.bucket, "Key": target.prefix + key}
        begun = target.client.create_multipart_upload(**where)["UploadId"]
        target.client.upload_part(**where, UploadId=begun, PartNumber=1, Body=b"half")


def unfinished(target: Storage) -> int:
    if isinstance(target, FolderStorage):
        return sum(path.is_file() for path in target.folder.rglob("*"))
    assert isinstance(target, S3Storage)
    found = target.client.list_multipart_uploads(Bucket=target.bucket)
    return len(found.get("Uploads", ()))


def test_what_a_put_left_that_was_cut_off_is_removed_below_a_prefix_only(either: Storage) -> None:
    cut_off(either, "a/b/1")
    cut_off(either, "a/c/2")
    assert (unfinished(either), list(either.list(""))) == (2, [])

    either.delete_unfinished("a/b/")
    assert unfinished(either) == 1
    either.delete_unfinished("a/")
    either.delete_unfinished("none/")

    assert unfinished(either) == 0


def test_the_hash_of_what_was_stored_is_known_at_its_end(either: Storage) -> None:
    reader = HashingReader(BytesIO(LARGE))

    either.put("a/b", reader, media_type="text/plain")

    assert reader.bytes == len(LARGE)
    assert reader.sha256 == hashlib.sha256(LARGE).hexdigest()


class TestFolder:
    @pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", "a/../../b", "a/.", "a\x00b"])
    def test_a_key_cannot_leave_the_folder(self, tmp_path: Path, key: str) -> None:
        folder = FolderStorage(tmp_path / "objects")

        for call in (
            lambda: put(folder, key),
            lambda: folder.open(key),
            lambda: folder.delete(key),
        ):
            with pytest.raises(Invalid):
                call()
        assert list(tmp_path.rglob("*")) == []

    def test_a_folder_is_no_object(self, tmp_path: Path) -> None:
        folder = FolderStorage(tmp_path)
        put(folder, "a/b")

        with pytest.raises(NotFound):
            folder.open("a")

    def test_what_is_being_written_is_not_seen(self, tmp_path: Path) -> None:
        folder = FolderStorage(tmp_path)
        put(folder, "a/b", b"old")

        class Looking(BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                seen.append(([stored.key for stored in folder.list("")], content_of(folder, "a/b")))
                return super().read(size)

        seen: list[tuple[list[str], bytes]] = []
        folder.put("a/b", Looking(b"new"), media_type="text/plain")

        assert seen
        assert all(each == (["a/b"], b"old") for each in seen)
        assert content_of(folder, "a/b") == b"new"

    def test_a_place_that_cannot_be_written_is_a_fault_of_the_storage(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")

        with pytest.raises(StorageUnavailable):
            put(FolderStorage(tmp_path / "file"), "a/b")

    def test_it_gives_no_address(self, tmp_path: Path) -> None:
        folder = FolderStorage(tmp_path)

        assert folder.url("a", filename="a", media_type="text/plain", expires_s=60) is None


class TestBucket:
    @pytest.mark.parametrize("filename", ["a.txt", 'a"; b.html', "数据.txt", "a\r\nX-Evil: 1"])
    def test_an_address_serves_a_download_of_the_type_it_was_signed_for(
        self, bucket: S3Storage, filename: str
    ) -> None:
        put(bucket, "a/b", b"<script>")
        type_ = "application/octet-stream"
        url = bucket.url("a/b", filename=filename, media_type=type_, expires_s=60)

        answer = httpx.get(url)

        assert (answer.status_code, answer.content) == (200, b"<script>")
        assert answer.headers["Content-Type"] == type_
        disposition = answer.headers["Content-Disposition"]
        assert disposition.startswith("attachment;")
        assert "X-Evil" not in answer.headers
        assert disposition.count('"') in {0, 2}

    def test_a_changed_address_is_refused(self, bucket: S3Storage) -> None:
        put(bucket, "a/b")
        url = bucket.url("a/b", filename="a", media_type="text/plain", expires_s=60)

        assert httpx.get(url.replace("text%2Fplain", "text%2Fhtml")).status_code == 403
        assert httpx.get(url.partition("?")[0]).status_code == 403

    def test_without_a_public_endpoint_no_address_is_given(
        self, bucket: S3Storage, settings_for: pytest.MonkeyPatch
    ) -> None:
        settings_for.delenv("ATELIER_S3_PUBLIC_ENDPOINT")
        forget_settings()

        assert storage().url("a/b", filename="a", media_type="text/plain", expires_s=60) is None

    def test_keys_lie_below_the_prefix_of_the_url(self, bucket: S3Storage) -> None:
        put(bucket, "a/b")

        listed = bucket.client.list_objects_v2(Bucket="atelier")["Contents"]

        assert [each["Key"] for each in listed] == ["some/where/a/b"]

    def test_a_wrong_key_or_an_absent_bucket_is_a_fault_of_the_storage(
        self, s3_server: Ceph, bucket: S3Storage, settings_for: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(StorageUnavailable):
            put(S3Storage("absent", "", bucket.client), "a")
        settings_for.setenv("ATELIER_S3_SECRET_KEY", "wrong")
        forget_settings()

        with pytest.raises(StorageUnavailable):
            storage().open("a/b")


def test_a_server_that_has_gone_away_is_a_fault_of_the_storage(
    s3_server: Ceph, bucket: S3Storage
) -> None:
    put(bucket, "a/b")
    s3_server.stop_gateway()
    gone = S3Storage("atelier", "", make_client())

    for call in (
        lambda: put(gone, "a"),
        lambda: gone.open("a/b"),
        lambda: gone.delete("a/b"),
        lambda: list(gone.list("")),
    ):
        with pytest.raises(StorageUnavailable):
            call()
