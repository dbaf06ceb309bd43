"""IDX files: recognised by what is in them, in pairs, whatever their names and order."""

import gzip
import struct

import numpy as np
import pytest

from shared.errors import Invalid


def images(count: int, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 16, 16), dtype=np.uint8)
    # The first pixel tells the label, so that a test can see whether they stayed together.
    pixels[:, 0, 0] = np.arange(count) % 7
    return struct.pack(">4I", 2051, count, 16, 16) + pixels.tobytes()


def labels(count: int) -> bytes:
    return struct.pack(">2I", 2049, count) + bytes(k % 7 for k in range(count))


def test_pairs_are_found_whatever_their_order_and_names(desk, everything):
    sources = [
        desk.file("b", gzip.compress(labels(90))),
        desk.file("a.png", images(50)),
        desk.file("c.txt", labels(50)),
        desk.file("d", gzip.compress(images(90, seed=1))),
    ]
    dataset, report = desk.images(*sources, **everything)
    assert report.examples == 140
    assert dataset.labels == tuple("0123456")
    assert (dataset.images("train")[:, 0, 0, 0] == dataset.label_indices("train")).all()


def test_of_equally_many_the_names_decide(desk):
    sources = [
        desk.file("test-labels", labels(50)[:8] + bytes(50)),
        desk.file("train-labels", labels(50)[:8] + bytes([1]) * 50),
        desk.file("train-images", images(50)),
    ]
    with pytest.raises(Invalid, match="test-labels: 50 labels"):
        desk.images(*sources)
    _, report = desk.images(*sources, desk.file("test-images", images(50, seed=1)))
    assert report.labels == {"0": 50, "1": 50}


def test_images_alone_are_unlabelled(desk):
    _, report = desk.images(desk.file("images", images(50)))
    assert report.unlabelled == 50


def test_labels_without_as_many_images_are_refused(desk):
    with pytest.raises(Invalid, match="labels: 49 labels, but no file of as many images"):
        desk.images(desk.file("images", images(50)), desk.file("labels", labels(49)))


def test_a_file_that_ends_early_gives_what_it_has_and_says_so(desk):
    _, report = desk.images(desk.file("images", images(50)[:-300]))
    assert report.examples == 48
    assert report.rejected == [{"where": "images", "reason": "ends after 48 of 50 images"}]


def test_a_damaged_gzip_file_is_refused(desk):
    with pytest.raises(Invalid, match="images: a damaged IDX file"):
        desk.images(desk.file("images", gzip.compress(images(500))[:-4000]))


def test_impossible_sizes_are_refused(desk):
    with pytest.raises(Invalid, match="images of 4294967295 x 4294967295 pixels"):
        desk.images(
            desk.file("images", struct.pack(">4I", 2051, 1, 2**32 - 1, 2**32 - 1) + bytes(9))
        )


def test_an_image_is_the_same_example_in_idx_and_as_a_file(desk, encoded, everything):
    from PIL import Image

    pixels = np.frombuffer(images(1)[16:], np.uint8).reshape(16, 16)
    sources = desk.file("images", images(1)), desk.file("a.png", encoded(Image.fromarray(pixels)))
    _, report = desk.images(*sources, **everything)
    assert report.duplicates["exact"] == 1
