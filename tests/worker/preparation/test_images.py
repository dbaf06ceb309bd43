"""Images: decoding, labels, sizes, colour, duplicates."""

import io

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from shared.errors import Invalid
from worker.preparation.files import Unreadable
from worker.preparation.pixels import decode, squared


def test_folders_are_labels_in_natural_order(desk, picture):
    members = {f"set/{k % 11}/{k}.png": picture(k) for k in range(66)}
    dataset, report = desk.images(desk.zip("digits.zip", members))
    assert dataset.labels == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10")
    assert report.labels == dict.fromkeys(dataset.labels, 6)
    assert sum(len(dataset.label_indices(split)) for split in report.splits) == 66


def test_every_image_keeps_its_own_label(desk, encoded, everything):
    levels = {f"{level}/{k}.png": (level, k) for level in (10, 100, 200) for k in range(5)}
    members = {
        name: encoded(Image.new("L", (16, 16 + k), level)) for name, (level, k) in levels.items()
    }
    dataset, _ = desk.images(desk.tar("greys.tgz", members), **everything)
    for pixels, index in zip(dataset.images("train"), dataset.label_indices("train"), strict=True):
        assert pixels.mean() == int(dataset.labels[index])


def test_a_label_table_in_the_archive_decides(desk, picture):
    members = {f"photos/{k}.png": picture(k) for k in range(40)}
    rows = "".join(f"{k}.png,{'even' if k % 2 == 0 else 'odd'}\n" for k in range(39))
    table = ("filename,label\n" + rows + "gone.png,odd\n").encode("utf-8-sig")
    _, report = desk.images(desk.tar("photos.tar", {**members, "photos/labels.csv": table}))
    assert report.labels == {"even": 20, "odd": 19}
    assert report.unlabelled == 1
    assert report.rejected[0]["reason"] == "names 'gone.png', which is not among the files"
    assert any("1 of 40 examples have no label" in warning for warning in report.warnings)


def test_a_label_table_beside_single_files_decides(desk, picture):
    files = [desk.file(f"{k}.png", picture(k)) for k in range(30)]
    rows = "".join(f"x,{k}.png,\n" if k == 0 else f"x,{k}.png,seven\n" for k in range(30))
    table = desk.file("labels.csv", f"id,filename,label\n{rows}".encode())
    _, report = desk.images(*files, table)
    assert report.labels == {"seven": 29}


@pytest.mark.parametrize("table", [b"file,class\na.png,x\n", b"", bytes(range(128, 256)) * 20])
def test_a_label_table_that_cannot_be_read_is_refused(desk, picture, table):
    with pytest.raises(Invalid, match=r"pets\.zip/labels\.csv: "):
        desk.images(desk.zip("pets.zip", {"a.png": picture(1), "labels.csv": table}))


def test_without_labels_every_index_is_minus_one(desk, picture, everything):
    dataset, report = desk.images(*(desk.file("a.png", picture(k)) for k in range(3)), **everything)
    assert dataset.labels == ()
    assert dataset.label_indices("train").tolist() == [-1, -1, -1]
    assert report.labels == {}


def test_an_image_lies_upright_by_its_exif_tag():
    upright = Image.new("L", (30, 20))
    upright.paste(255, (0, 0, 30, 5))
    turned, target = Image.Exif(), io.BytesIO()
    turned[0x0112] = 6
    upright.rotate(90, expand=True).save(target, "JPEG", exif=turned)
    pixels = decode(target.getvalue())
    assert pixels.shape == (20, 30, 1)
    assert pixels[:3].mean() > 250


def test_transparency_lies_on_white(encoded):
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert (decode(encoded(clear)) == 255).all()
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([0, 0, 255])
    assert (decode(encoded(palette, "GIF", transparency=0)) == 255).all()
    half = Image.new("LA", (8, 8), (0, 128))
    assert decode(encoded(half)).shape == (8, 8, 1)
    assert abs(int(decode(encoded(half))[0, 0, 0]) - 127) <= 1


def test_other_colour_spaces_become_rgb(encoded):
    palette = Image.new("RGB", (8, 8), (200, 10, 10)).convert("P")
    assert np.abs(decode(encoded(palette))[0, 0].astype(int) - (200, 10, 10)).max() < 30
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert decode(encoded(cmyk, "TIFF"))[0, 0].tolist() == [255, 0, 0]
    black_and_white = Image.new("1", (8, 8), 1)
    assert (decode(encoded(black_and_white)) == 255).all()


def test_sixteen_bits_are_cut_to_eight(encoded):
    deep = Image.fromarray(np.full((8, 8), 0x80FF, np.uint16))
    assert decode(encoded(deep)).tolist() == np.full((8, 8, 1), 0x80).tolist()
    assert decode(encoded(deep, "TIFF"))[0, 0, 0] == 0x80


def test_an_animation_gives_its_first_frame(encoded):
    frames = [Image.new("L", (8, 8), level) for level in (40, 200)]
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode(moving) == 40).all()


def test_an_image_of_a_hundred_megapixels_is_rejected_unread(encoded):
    huge = encoded(Image.new("1", (10_000, 10_000)))
    with pytest.raises(Unreadable, match="more than 50,000,000 pixels"):
        decode(huge)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_image_is_rejected_with_where(desk, pictures, content):
    _, report = desk.images(desk.zip("pets.zip", {**pictures(40), "cat/bad.jpg": content}))
    assert report.examples == 40
    assert report.rejected[0]["where"] == "pets.zip/cat/bad.jpg"
    assert report.rejected_total == 1


def test_a_cut_off_image_is_rejected_with_where(desk, picture, pictures):
    cut = picture(99, 200, 200, format="JPEG")[:-900]
    _, report = desk.images(desk.zip("pets.zip", {**pictures(40), "cat/cut.jpg": cut}))
    assert report.rejected[0]["where"] == "pets.zip/cat/cut.jpg"


def test_the_report_shows_two_hundred_rejections_and_counts_all(desk, pictures):
    bad = {f"cat/bad{k}.png": b"%d" % k for k in range(250)}
    _, report = desk.images(desk.zip("pets.zip", {**pictures(40), **bad}))
    assert (len(report.rejected), report.rejected_total) == (200, 250)


def test_each_policy_makes_a_square_in_its_way():
    wide = np.zeros((20, 60, 1), np.uint8)
    wide[:, :20] = 100
    assert squared(wide, 16, "crop").max() < 10
    padded = squared(wide, 16, "pad")
    assert (padded[0] == 255).all()
    assert padded[8, 0, 0] == 100
    stretched = squared(wide, 16, "stretch")
    assert stretched[8, 2, 0] == 100
    assert stretched[8, 12, 0] == 0


def test_without_a_size_the_median_decides(desk, picture):
    members = {f"a/{k}.png": picture(k, 100, side) for k, side in enumerate((20, 40, 40, 40, 500))}
    dataset, report = desk.images(desk.zip("a.zip", members), size=None, validation=0, test=0)
    assert dataset.size == 32
    assert report.sizes["height"] == [20, 500]


def test_auto_is_grey_until_one_image_has_colour(desk, picture, everything, all_images):
    greys = {f"a/{k}.png": picture(k, mode="L") for k in range(40)}
    grey, _ = desk.images(desk.zip("a.zip", greys))
    assert grey.channels == 1

    mixed, _ = desk.images(desk.zip("a.zip", {**greys, "b/c.png": picture(50)}), **everything)
    assert mixed.channels == 3
    same = sorted(image[..., 0].tobytes() for image in all_images(mixed)[:40])
    assert same == sorted(image.tobytes() for image in all_images(grey))


def test_the_mode_is_as_asked(desk, picture, pictures):
    assert desk.images(desk.zip("a.zip", pictures(40)), mode="grey")[0].channels == 1
    greys = {f"a/{k}.png": picture(k, mode="L") for k in range(40)}
    assert desk.images(desk.zip("a.zip", greys), mode="colour")[0].channels == 3


def test_the_same_image_in_two_formats_is_one_example(desk, picture, pictures):
    copies = {"cat/copy.bmp": picture(0, format="BMP"), "dog/copy.png": picture(0)}
    _, report = desk.images(desk.zip("pets.zip", {**pictures(40), **copies}))
    assert report.examples == 40
    assert report.duplicates == {"exact": 2, "near": 0}
    assert any("1 exact duplicates have another label" in line for line in report.warnings)


def test_a_photograph_saved_again_is_a_near_duplicate(desk, picture):
    members = {f"a/{k}.png": picture(k, 128, 128) for k in range(40)}
    again = {
        "a/jpeg.jpg": picture(0, 128, 128, format="JPEG", quality=70),
        "a/smaller.png": picture(1, 100, 100),
    }
    _, report = desk.images(desk.zip("a.zip", {**members, **again}))
    assert report.duplicates == {"exact": 0, "near": 2}
    _, report = desk.images(desk.zip("a.zip", {**members, **again}), deduplicate=False)
    assert report.examples == 42


def test_the_same_shape_in_another_colour_is_no_duplicate(desk, encoded, picture):
    red = Image.open(io.BytesIO(picture(7, 128, 128, mode="L")))
    black = Image.new("L", red.size)
    tinted = [Image.merge("RGB", (red, black, black)), Image.merge("RGB", (black, black, red))]
    members = {f"a/{k}.png": encoded(image) for k, image in enumerate(tinted)}
    _, report = desk.images(desk.zip("a.zip", members), validation=0, test=0)
    assert report.duplicates["near"] == 0


def test_tiny_images_are_duplicates_only_when_equal(desk, encoded):
    digit = np.zeros((28, 28), np.uint8)
    digit[4:24, 12:16] = 255
    members = {}
    for k in range(20):
        other = digit.copy()
        other[k, 0] = 90
        members[f"1/{k}.png"] = encoded(Image.fromarray(other))
    _, report = desk.images(desk.zip("ones.zip", members), size=28, validation=0, test=0)
    assert report.examples == 20


def test_parquet_gives_images_with_labels(desk, picture):
    rows = [{"image": {"bytes": picture(k), "path": None}, "label": k % 3} for k in range(40)]
    rows.append({"image": None, "label": 0})
    target = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), target)
    dataset, report = desk.images(desk.file("train.parquet", target.getvalue()))
    assert dataset.labels == ("0", "1", "2")
    assert report.examples == 40
    assert report.rejected[0]["where"] == "train.parquet:41"


def test_the_sheet_shows_a_row_for_each_label(desk, pictures):
    dataset, report = desk.images(desk.zip("pets.zip", pictures(60)))
    with Image.open(dataset.folder / report.sheet) as sheet:
        assert sheet.format == "PNG"
        assert sheet.height == 2 * (64 + 4) + 4
