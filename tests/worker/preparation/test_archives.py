"""Hostile and damaged archives: the whole preparation fails and nothing is left of it."""

import gzip
import io
import tarfile
import zipfile

import pytest

from shared.errors import Invalid, Stopped, UnsafeContent
from worker.preparation import archives
from worker.preparation.prepare import Source


@pytest.mark.parametrize(
    "name", ["../evil.png", "/etc/evil.png", "C:/evil.png", "a\\..\\..\\b.png"]
)
def test_a_path_out_of_the_archive_is_refused_by_name(desk, picture, pictures, name):
    for make, archive in ((desk.zip, "pets.zip"), (desk.tar, "pets.tar")):
        source = make(archive, {**pictures(4), name: picture(9)})
        with pytest.raises(UnsafeContent, match="must stay inside"):
            desk.images(source)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(desk, pictures, kind):
    link = tarfile.TarInfo("cat/link.png")
    link.type = kind
    link.linkname = "/etc/passwd"
    with pytest.raises(UnsafeContent, match=r"pets\.tar/cat/link\.png: links"):
        desk.images(desk.tar("pets.tar", {**pictures(4), "link": link}))


def test_a_link_in_a_zip_is_refused(desk, pictures):
    source = desk.zip("pets.zip", pictures(4))
    with zipfile.ZipFile(source.path, "a") as archive:
        link = zipfile.ZipInfo("cat/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UnsafeContent, match=r"pets\.zip/cat/link\.png: links"):
        desk.images(source)


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.tar.gz"])
def test_a_bomb_is_refused_with_the_member_and_the_limit(desk, pictures, name):
    members = {**pictures(4), "zeros.bmp": bytes(80 * 2**20)}
    source = (desk.zip if name.endswith("zip") else desk.tar)(name, members)
    with pytest.raises(UnsafeContent, match=rf"{name}/zeros\.bmp: unpacks to more than 67,108,864"):
        desk.images(source)


def test_a_bomb_of_packed_text_is_refused(desk):
    source = desk.file("bomb.txt.gz", gzip.compress(bytes(b"a\n" * 40 * 2**20)))
    with pytest.raises(UnsafeContent, match=r"bomb\.txt\.gz: unpacks to more than"):
        desk.texts(source)


def test_a_header_that_asks_for_gigabytes_is_refused(desk):
    header = tarfile.TarInfo("pax")
    header.type = tarfile.XHDTYPE
    header.size = 5 * 2**30
    source = desk.file("bomb.tar", header.tobuf() + bytes(1024))
    with pytest.raises(UnsafeContent, match="limit is 1,048,576"):
        desk.images(source)


@pytest.mark.parametrize("name", ["many.zip", "many.tar"])
def test_too_many_files_are_refused_before_any_is_read(desk, monkeypatch, name):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 50)
    make = desk.zip if name.endswith("zip") else desk.tar
    with pytest.raises(UnsafeContent, match="more than 50 entries"):
        desk.images(make(name, {f"a/{k}.png": b"" for k in range(51)}))


def test_after_a_refusal_nothing_is_left(desk, picture):
    with pytest.raises(UnsafeContent):
        desk.images(desk.zip("pets.zip", {"a/1.png": picture(1), "../2.png": picture(2)}))
    assert [path.name for path in desk.folder.iterdir()] == ["upload-1"]


def test_when_the_host_asks_to_stop_nothing_is_left(desk, pictures):
    desk.run.stop = True
    with pytest.raises(Stopped):
        desk.images(desk.zip("pets.zip", pictures(10)))
    assert [path.name for path in desk.folder.iterdir()] == ["upload-1"]


def test_a_cut_off_archive_is_refused_as_a_whole(desk, pictures):
    for make, name in ((desk.zip, "pets.zip"), (desk.tar, "pets.tar"), (desk.tar, "pets.tgz")):
        source = make(name, pictures(20))
        source.path.write_bytes(source.path.read_bytes()[:-12_000])
        with pytest.raises(Invalid, match="a damaged archive"):
            desk.images(source)


def test_a_member_with_another_size_than_declared_is_rejected_alone(desk, pictures):
    source = desk.zip("pets.zip", pictures(40))
    with zipfile.ZipFile(source.path) as archive:
        entry = archive.infolist()[0]
    packed = bytearray(source.path.read_bytes())
    directory = packed.index(b"PK\x01\x02")
    packed[directory + 24 : directory + 28] = (entry.file_size + 7).to_bytes(4, "little")
    source.path.write_bytes(packed)
    _, report = desk.images(source)
    assert report.examples == 39
    assert report.rejected[0]["where"] == f"pets.zip/{entry.filename}"
    assert "declared as" in report.rejected[0]["reason"]


def test_a_damaged_or_encrypted_member_is_rejected_alone(desk, pictures):
    source = desk.zip("pets.zip", pictures(40))
    packed = bytearray(source.path.read_bytes())
    packed[60:70] = bytes(10)
    second = packed.index(b"PK\x01\x02", packed.index(b"PK\x01\x02") + 4)
    packed[second + 8] |= 1
    source.path.write_bytes(packed)
    _, report = desk.images(source)
    assert report.examples == 38
    reasons = [rejected["reason"] for rejected in report.rejected]
    assert "damaged" in reasons[0]
    assert "encrypted" in reasons[1]


def test_an_archive_in_an_archive_is_not_opened(desk, pictures):
    inner = desk.zip("inner.zip", pictures(4)).path.read_bytes()
    _, report = desk.images(desk.tar("outer.tar", {**pictures(40), "inner.zip": inner}))
    assert report.examples == 40
    assert report.rejected == [
        {"where": "outer.tar/inner.zip", "reason": "a file of kind zip where an image was expected"}
    ]


def test_what_operating_systems_leave_in_archives_is_ignored(desk, pictures):
    litter = {"__MACOSX/cat/._1.png": b"x", "cat/.DS_Store": b"x", "dog/Thumbs.db": b"x"}
    _, report = desk.images(desk.zip("pets.zip", {**pictures(40), **litter}))
    assert (report.examples, report.rejected_total) == (40, 0)


def test_names_in_old_chinese_archives_become_readable_labels(desk, picture):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for seed in range(40):
            archive.writestr(f"XXXX/{seed}.png", picture(seed))
    raw = target.getvalue().replace(b"XXXX/", "猫咪".encode("gb2312") + b"/")
    dataset, _ = desk.images(desk.file("pets.zip", raw))
    assert dataset.labels == ("猫咪",)


def test_progress_grows_to_one(desk, pictures):
    desk.images(desk.zip("pets.zip", pictures(40)))
    assert desk.run.fractions == sorted(desk.run.fractions)
    assert desk.run.fractions[-1] == 1.0


def test_an_empty_upload_is_refused_with_the_reason(desk):
    empty: Source = desk.file("nothing.bin", b"")
    with pytest.raises(Invalid, match=r"nothing usable was found\. nothing\.bin: not an image"):
        desk.images(empty)
