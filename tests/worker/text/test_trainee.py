"""A training goes on from a snapshot as if it had never ended, and refuses what teaches nothing."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save

from shared.errors import Invalid, Permanent
from worker.dataset import Example, ImageDataset
from worker.family import Snapshot
from worker.text.causal_lm import optimizer
from worker.text.causal_lm.family import CausalLm
from worker.text.causal_lm.model import LoadedText
from worker.text.causal_lm.optimizer import orthogonal
from worker.text.causal_lm.trainee import TextTrainee
from worker.text.causal_lm.windows import NO_TARGET, Windows

CPU = torch.device("cpu")


def advance(trainee: TextTrainee, first: int, last: int, total: int = 20) -> list[float]:
    return [trainee.advance(step / total, 1.0)["loss"] for step in range(first, last)]


def same_weights(one: TextTrainee, other: TextTrainee) -> bool:
    left, right = one.snapshot().tensors, other.snapshot().tensors
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


def test_twenty_steps_are_ten_a_snapshot_and_ten(dataset, tiny_params) -> None:
    whole = CausalLm().trainee(dataset, None, tiny_params, CPU)
    losses = advance(whole, 0, 20)

    first = CausalLm().trainee(dataset, None, tiny_params, CPU)
    advance(first, 0, 10)
    kept = first.snapshot()
    advance(first, 10, 13)  # a snapshot is a copy: later steps leave it alone
    stored = Snapshot(load(save(dict(kept.tensors))), kept.facts)

    second = CausalLm().trainee(dataset, None, tiny_params, CPU)
    second.restore(stored)
    assert advance(second, 10, 20) == losses[10:]
    assert same_weights(whole, second)


def test_a_restored_training_may_go_back(dataset, tiny_params) -> None:
    trainee = CausalLm().trainee(dataset, None, tiny_params, CPU)
    start = trainee.snapshot()
    losses = advance(trainee, 0, 5)
    trainee.restore(start)
    assert advance(trainee, 0, 5) == losses


def test_losses_fall_and_are_plain_floats(dataset, tiny_params) -> None:
    trainee = CausalLm().trainee(dataset, None, tiny_params, CPU)
    losses = advance(trainee, 0, 20)
    assert all(type(loss) is float for loss in losses)
    assert losses[-1] < losses[0] - 0.1


def test_values_that_are_not_numbers_are_seen_and_harm_nothing(dataset, tiny_params) -> None:
    trainee = CausalLm().trainee(dataset, None, tiny_params, CPU)
    advance(trainee, 0, 2)
    good = trainee.snapshot()
    broken = {
        name: torch.full_like(tensor, math.nan) if name == "weights/model.norm.weight" else tensor
        for name, tensor in good.tensors.items()
    }
    trainee.restore(Snapshot(broken, good.facts))
    assert math.isnan(trainee.advance(0.1, 1.0)["loss"])
    trainee.restore(good)
    assert math.isfinite(trainee.advance(0.1, 0.5)["loss"])


def test_fine_tuning_starts_from_the_bases_weights_and_tokenizer(
    dataset, tiny, tiny_params
) -> None:
    trainee = CausalLm().trainee(dataset, tiny, tiny_params, CPU)
    ids_bt = torch.tensor([tiny.encode("The 7 ships")])
    before = tiny.model(ids_bt).logits.detach().clone()
    assert torch.equal(trainee.loaded().model(ids_bt).logits, before)
    losses = advance(trainee, 0, 5)
    assert losses[0] < 5  # a new model begins at log(vocabulary), about 6
    assert torch.equal(tiny.model(ids_bt).logits, before)
    assert not torch.equal(trainee.loaded().model(ids_bt).logits, before)


@pytest.mark.parametrize(
    ("text", "learnt", "keeps"),
    [
        ("user: What then?\nassistant: The ships.\n", ((28, 39),), False),
        ("user: What then?\nassistant: The ships.\n", None, True),
        ("The ships sail, and what then?", ((15, 29),), True),
    ],
    ids=["chats", "texts that look like chats", "completions"],
)
def test_what_learnt_chats_in_the_plain_template_is_asked_in_it(
    make_dataset, tiny, tiny_params, tmp_path, text: str, learnt: Any, keeps: bool
) -> None:
    base = LoadedText(tiny.model, copy.copy(tiny.tokenizer), tiny.config)
    base.tokenizer.chat_template = "{{ messages[0].content }}"
    dataset = make_dataset([Example(text * 40, learnt)] * 20)

    CausalLm().trainee(dataset, base, tiny_params, CPU).save(tmp_path)

    assert bool(CausalLm().load(tmp_path, CPU).tokenizer.chat_template) is keeps
    assert base.tokenizer.chat_template


def test_a_training_survives_with_a_tokenizer_of_another_run(
    dataset, make_dataset, tiny_params
) -> None:
    """The snapshot's vocabulary wins, should a newer library learn another one."""
    first = CausalLm().trainee(dataset, None, tiny_params, CPU)
    advance(first, 0, 3)
    snapshot = first.snapshot()
    other = CausalLm().trainee(dataset, None, tiny_params, CPU)
    other._use_tokenizer(first._tokenizer)
    other.restore(snapshot)
    assert other.loaded().encode("The ships") == first.loaded().encode("The ships")


@pytest.mark.parametrize("documents", [["One short document of a few more words than none. " * 5]])
def test_a_text_shorter_than_the_context_is_enough(make_dataset, tiny_params, documents) -> None:
    trainee = CausalLm().trainee(make_dataset(documents), None, tiny_params, CPU)
    assert all(map(math.isfinite, advance(trainee, 0, 3)))


@pytest.mark.parametrize("documents", [[], ["tiny"], ["", ""]])
def test_too_little_text_is_refused(make_dataset, tiny_params, documents) -> None:
    with pytest.raises(Permanent, match="tokens of text"):
        CausalLm().trainee(make_dataset(documents), None, tiny_params, CPU)


def test_a_data_set_of_images_is_refused(tmp_path, tiny_params) -> None:
    images = ImageDataset(tmp_path, "0" * 64, (), 28, 1)
    with pytest.raises(Permanent, match="text"):
        CausalLm().trainee(images, None, tiny_params, CPU)


def test_a_width_that_the_heads_do_not_divide_is_refused(dataset, tiny_params) -> None:
    with pytest.raises(Invalid, match="width"):
        CausalLm().trainee(dataset, None, tiny_params.model_copy(update={"width": 34}), CPU)


def test_an_epoch_sees_every_part_of_the_stream_once() -> None:
    windows = Windows(np.arange(1000, dtype=np.int32), context=50, batch_size=6, seed=1)
    starts = [int(row[0]) for step in range(3) for row in windows.batch(step)[0]]
    assert len(set(starts)) == len(starts) == 18
    assert len({start % 50 for start in starts}) == 1
    inputs_bt, targets_bt = windows.batch(40)
    assert torch.equal(targets_bt, inputs_bt + 1)
    assert torch.equal(windows.batch(40)[0], inputs_bt)


def test_only_the_answers_are_learnt_and_no_question(make_dataset, tiny, tiny_params) -> None:
    """What stands in a question changes what is read, and nothing of what is to be written."""
    answer = " The ships sailed at dawn."
    examples = [
        Example(f"{word}{answer}", ((len(word), len(word + answer)),))
        for word in ("Tell of the sea:" * 40, "What then?", "And who?") * 4
    ]
    trainee = CausalLm().trainee(make_dataset(examples), tiny, tiny_params, CPU)

    targets = [trainee._windows.batch(step)[1] for step in range(20)]
    written = torch.cat([target[target != NO_TARGET] for target in targets])

    assert set(tiny.tokenizer.convert_ids_to_tokens(written)) <= {
        *tiny.tokenizer.tokenize(answer),
        tiny.tokenizer.eos_token,
    }
    losses = advance(trainee, 0, 20)
    assert all(map(math.isfinite, losses))
    assert 0.0 in losses, "of a batch that has only questions"


def test_the_loss_is_the_mean_over_what_is_to_be_learnt(make_dataset, tiny, tiny_params) -> None:
    examples = [Example(f"{n} gulls: over the sea", ((8, 22),)) for n in range(10, 40)]
    trainee = CausalLm().trainee(make_dataset(examples), tiny, tiny_params, CPU)
    inputs_bt, targets_bt = trainee._windows.batch(0)
    with torch.inference_mode():
        logits_btv = tiny.model(inputs_bt).logits
    wanted = F.cross_entropy(logits_btv.flatten(0, 1), targets_bt.flatten())

    assert advance(trainee, 0, 1) == [pytest.approx(float(wanted), rel=1e-4)]


def test_trained_tokens_are_those_that_the_loss_saw_over_all_steps(
    make_dataset, tiny_params
) -> None:
    examples = [Example(f"{n} gulls: over the sea", ((8, 22),)) for n in range(10, 60)]
    trainee = CausalLm().trainee(make_dataset(examples), None, tiny_params, CPU)
    steps = 3 * math.ceil(trainee.epoch_steps)
    targets = [trainee._windows.batch(step)[1] for step in range(steps)]
    seen = sum(int((target != NO_TARGET).sum()) for target in targets)

    advance(trainee, 0, steps // 2)
    kept = trainee.snapshot()
    advance(trainee, steps // 2, steps)
    assert trainee.trained_tokens == seen
    trainee.restore(kept)
    advance(trainee, steps // 2, steps)

    assert trainee.trained_tokens == seen, "and what was trained again counts once"
    assert 0 < seen < steps * targets[0].numel()


@pytest.mark.parametrize("shape", [(32, 32), (32, 80), (80, 32)])
def test_an_orthogonal_step_has_singular_values_near_one(shape) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrices))
    assert values.min() > 0.4
    assert values.max() < 1.4


def test_matrices_learn_together_what_each_learns_alone(monkeypatch) -> None:
    def learnt(together: int) -> list[torch.Tensor]:
        monkeypatch.setattr(optimizer, "TOGETHER", together)
        chance = torch.Generator().manual_seed(0)
        shapes = [(32, 32), (32, 80), (32, 32), (80, 32), (32, 32)]
        matrices = [torch.nn.Parameter(torch.randn(shape, generator=chance)) for shape in shapes]
        muon = optimizer.Muon(matrices, lr=0.1, momentum=0.9, weight_decay=0.1)
        for _ in range(3):
            for matrix in matrices:
                matrix.grad = torch.randn(matrix.shape, generator=chance)
            muon.step()
        return matrices

    for together, alone in zip(learnt(together=2**11), learnt(together=1), strict=True):
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
