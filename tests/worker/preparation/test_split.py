"""Splits and the hash follow from content alone."""

from hashlib import sha256

import pytest

from shared.errors import Invalid
from shared.preparation import TextOptions
from worker.dataset import SPLITS
from worker.preparation.split import split_of


def places(dataset) -> dict[bytes, str]:
    return {image.tobytes(): split for split in SPLITS for image in dataset.images(split)}


def test_adding_images_never_moves_one(desk, picture, pictures):
    before, _ = desk.images(desk.zip("a.zip", pictures(60)))
    more = {**pictures(60, start=1000), **pictures(60)}
    after, report = desk.images(desk.tar("b.tar.gz", more), desk.file("c.png", picture(5000)))
    assert report.examples == 121
    assert places(before).items() <= places(after).items()


def test_colour_size_and_policy_never_move_an_image(desk, picture):
    greys = {f"a/{k}.png": picture(k, 30, 20, mode="L") for k in range(60)}
    _, plain = desk.images(desk.zip("a.zip", greys))
    _, other = desk.images(desk.zip("a.zip", greys), size=28, policy="pad", mode="colour")
    assert plain.splits == other.splits
    assert plain.hash != other.hash


def test_adding_documents_never_moves_one(desk, json_lines):
    texts = [f"Document {k} says something of its own." for k in range(100)]
    before, _ = desk.texts(desk.file("a.jsonl", json_lines(texts)))
    after, _ = desk.texts(desk.file("b.jsonl", json_lines([f"New {k}" for k in range(70)] + texts)))
    for split in SPLITS:
        assert set(before.documents(split)) <= set(after.documents(split))


def test_another_share_for_validation_leaves_test_as_it_was(desk, pictures):
    source = desk.zip("a.zip", pictures(100))
    one, _ = desk.images(source, validation=0.1)
    other, _ = desk.images(source, validation=0.4)
    assert one.images("test").tolist() == other.images("test").tolist()


def test_shares_are_met_on_average(desk, json_lines):
    texts = [f"Document {k}" for k in range(2000)]
    _, report = desk.texts(desk.file("a.jsonl", json_lines(texts)), validation=0.1, test=0.2)
    assert report.splits["validation"] == pytest.approx(200, abs=50)
    assert report.splits["test"] == pytest.approx(400, abs=70)


def test_the_hash_names_content_labels_and_options_but_no_order(desk, pictures):
    members = pictures(40)
    _, report = desk.images(desk.zip("a.zip", members))
    _, same = desk.images(desk.tar("b.tar", dict(reversed(members.items()))))
    _, relabelled = desk.images(desk.zip("a.zip", {f"x{k}": v for k, v in members.items()}))
    _, smaller = desk.images(desk.zip("a.zip", pictures(39)))
    _, other = desk.images(desk.zip("a.zip", members), test=0.2)
    assert report.hash == same.hash
    assert len({report.hash, relabelled.hash, smaller.hash, other.hash}) == 4
    assert len(report.hash) == 64


def test_an_empty_split_of_a_small_set_is_a_warning(desk, picture):
    sources = [desk.file("a.png", picture(k)) for k in range(2)]
    _, report = desk.images(*sources, validation=0, test=0.01)
    assert report.splits == {"train": 2, "validation": 0, "test": 0}
    assert "no example fell into test" in report.warnings[0]


def test_a_set_that_only_measures_needs_no_training_split(desk, pictures):
    _, report = desk.images(desk.zip("a.zip", pictures(20)), validation=0, test=1)
    assert report.splits == {"train": 0, "validation": 0, "test": 20}
    assert report.warnings == []


def test_a_set_with_nothing_to_train_on_is_refused(desk, json_lines):
    options = TextOptions(validation=0.4, test=0.4)
    texts = (f"Document {k}" for k in range(100))
    tested = next(
        text for text in texts if split_of(sha256(text.encode()).digest(), options) == "test"
    )
    source = desk.file("a.jsonl", json_lines([tested]))
    with pytest.raises(Invalid, match="set the shares validation and test to 0"):
        desk.texts(source, validation=0.4, test=0.4)


def test_without_deduplication_copies_stay_together(desk, pictures):
    copies = {f"copy/{name}": content for name, content in pictures(40).items()}
    source = desk.zip("a.zip", {**pictures(40), **copies})
    dataset, report = desk.images(source, deduplicate=False)
    assert report.examples == 80
    assert len(places(dataset)) == 40
