"""A training goes on as if it never ended, starts from another model, and shows when it breaks."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from shared.errors import Permanent
from shared.families.conditional_gan import ImageTraining
from tests.worker.image.conftest import CPU, SMALL, write_dataset
from worker.dataset import ImageDataset, TextDataset
from worker.family import Snapshot
from worker.image.conditional_gan.family import ConditionalGan
from worker.image.conditional_gan.trainee import GanTrainee

STEPS = 20


def begin(dataset: ImageDataset, base=None, **params: object) -> GanTrainee:
    settings = ImageTraining.model_validate({**SMALL, **params})
    return ConditionalGan().trainee(dataset, base, settings, CPU)


def train(trainee: GanTrainee, start: int, end: int) -> dict[str, float]:
    losses: dict[str, float] = {}
    for step in range(start, end):
        losses |= trainee.advance(step / STEPS, 1.0)
    return losses


def through_a_file(snapshot: Snapshot) -> Snapshot:
    return Snapshot(load(save(dict(snapshot.tensors))), snapshot.facts)


def assert_same(one: Snapshot, other: Snapshot) -> None:
    assert one.facts == other.facts
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name


def test_a_resumed_training_ends_with_the_same_weights(digits: ImageDataset):
    # Given a training in one piece, across the border of an epoch
    batch = {"batch_size": 150}
    whole = begin(digits, **batch)
    train(whole, 0, STEPS)

    # When another one ends half way and a third goes on from what it left
    first = begin(digits, **batch)
    train(first, 0, STEPS // 2)
    kept = through_a_file(first.snapshot())
    train(first, STEPS // 2, STEPS)  # must not reach into the snapshot
    second = begin(digits, **batch)
    second.restore(kept)
    train(second, STEPS // 2, STEPS)

    # Then every bit is the same
    assert second.batches.epoch > 0
    assert_same(whole.snapshot(), second.snapshot())


def test_the_same_seed_trains_the_same_model_whatever_the_process_drew(digits: ImageDataset):
    one = begin(digits, seed=5)
    torch.rand(3)
    other = begin(digits, seed=5)

    train(one, 0, 3)
    train(other, 0, 3)

    assert_same(one.snapshot(), other.snapshot())


def test_losses_are_numbers_by_name_and_the_penalty_comes_every_fourth_step(digits: ImageDataset):
    trainee = begin(digits)

    losses = [trainee.advance(0, 1.0) for _ in range(5)]

    assert [set(loss) >= {"generator", "discriminator"} for loss in losses] == [True] * 5
    assert ["penalty" in loss for loss in losses] == [True, False, False, False, True]
    assert all(type(value) is float for loss in losses for value in loss.values())


def test_a_broken_training_shows_in_its_losses(digits: ImageDataset):
    trainee = begin(digits)
    with torch.no_grad():
        next(trainee.generator.parameters()).fill_(math.nan)

    assert not all(map(math.isfinite, trainee.advance(0, 1.0).values()))


def test_steps_in_bfloat16_work_too(digits: ImageDataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    trainee = begin(digits)

    assert all(map(math.isfinite, train(trainee, 0, 5).values()))
    assert {weight.dtype for weight in trainee.generator.parameters()} == {torch.float32}


def test_the_learning_rate_falls_and_follows_the_scale(digits: ImageDataset):
    trainee = begin(digits, learning_rate=1e-3)

    rates = []
    for fraction, scale in [(0, 1), (1, 1), (0, 0.5)]:
        trainee.advance(fraction, scale)
        rates.append(trainee.step.generator_adam.param_groups[0]["lr"])

    assert rates == pytest.approx([1e-3, 1e-4, 5e-4])


def test_pictures_without_labels_make_a_model_without(colours: ImageDataset):
    trainee = begin(colours)

    assert all(map(math.isfinite, train(trainee, 0, 2).values()))
    assert trainee.loaded().config["labels"] == []


def test_a_picture_without_a_label_among_labelled_ones_has_weights_of_zero(tmp_path: Path):
    images = np.zeros((40, 16, 16, 1), np.uint8)
    dataset = write_dataset(tmp_path / "some", images, np.array([-1, 0] * 20), ["a", "b"])

    _, weights = begin(dataset, batch_size=32).batches.next()

    assert set(map(tuple, weights.tolist())) == {(0.0, 0.0), (1.0, 0.0)}


def test_an_epoch_shows_every_picture_once(colours: ImageDataset):
    batches = begin(colours, batch_size=32).batches

    shown = torch.cat([batches.next()[0] for _ in range(3)])

    assert len(shown.flatten(1).unique(dim=0)) == 96


def test_fine_tuning_starts_from_the_base(digits: ImageDataset):
    base = begin(digits, width=24)
    train(base, 0, 3)

    further = begin(digits, base.loaded(), width=16)

    expected, found = base.loaded(), further.loaded()
    for name, weight in expected.generator.state_dict().items():
        assert torch.equal(weight, found.generator.state_dict()[name]), name
    for name, weight in base.discriminator.state_dict().items():
        assert torch.equal(weight, further.discriminator.state_dict()[name]), name
    further.advance(0, 1)
    assert further.loaded().config["trained_steps"] == 4


def test_fine_tuning_with_other_labels_keeps_those_both_know(digits: ImageDataset, tmp_path: Path):
    base = begin(digits).loaded()
    images = np.zeros((40, 16, 16, 1), np.uint8)
    dataset = write_dataset(tmp_path / "new", images, np.array([0, 1] * 20), ["seven", "3"])

    further = begin(dataset, base)

    own, older = further.generator.label.weight, base.generator.label.weight
    assert torch.equal(own[:, 1], older[:, 3])
    assert torch.equal(further.generator.spread.weight, base.generator.spread.weight)
    train(further, 0, 2)


def test_fine_tuning_to_another_kind_of_picture_is_refused(
    digits: ImageDataset, colours: ImageDataset
):
    base = begin(digits).loaded()

    with pytest.raises(Permanent, match=r"16 pixels and 1 channels.*32 and 3"):
        begin(colours, base)


def test_a_data_set_of_text_is_refused(tmp_path: Path):
    with pytest.raises(Permanent, match="holds text"):
        ConditionalGan().trainee(TextDataset(tmp_path, "hash"), None, ImageTraining(), CPU)


def test_a_size_without_a_network_is_refused(tmp_path: Path):
    images = np.zeros((40, 20, 20, 1), np.uint8)
    dataset = write_dataset(tmp_path / "twenty", images, np.zeros(40), ["a"])

    with pytest.raises(Permanent, match="20 pixels"):
        begin(dataset)
