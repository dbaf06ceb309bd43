"""Choosing tokens follows the distribution and nothing but its own generator."""

import pytest
import torch

from worker.family import output_seed
from worker.text.causal_lm.sampling import choose, nucleus


def generators(seeds) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_the_first_output_has_the_requests_seed_and_the_others_their_own() -> None:
    seeds = [output_seed(7, index) for index in range(16)]
    assert seeds[0] == 7
    assert len(set(seeds)) == 16
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert seeds[1] != output_seed(8, 1)


def test_samples_have_the_probabilities_of_the_softmax() -> None:
    probability_v = torch.tensor([0.5, 0.3, 0.15, 0.05])
    rows = 4000
    logits_bv = probability_v.log().expand(rows, 4)
    token_b = choose(logits_bv, torch.ones(rows), torch.ones(rows), generators(range(rows)))
    share_v = torch.bincount(token_b, minlength=4) / rows
    torch.testing.assert_close(share_v, probability_v, atol=0.03, rtol=0)


def test_temperature_zero_takes_the_likeliest() -> None:
    logits_bv = torch.tensor([[0.0, 3.0, 2.9]]).expand(50, 3)
    token_b = choose(logits_bv, torch.zeros(50), torch.ones(50), generators(range(50)))
    assert token_b.tolist() == [1] * 50


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, 1), (0.5, 1), (0.51, 2), (0.9, 3), (1.0, 4)])
def test_the_nucleus_is_the_least_set_that_reaches_the_mass(top_p: float, kept: int) -> None:
    logits_bv = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    left_bv = nucleus(logits_bv, torch.tensor([top_p]))
    assert torch.isfinite(left_bv).sum() == kept


def test_a_row_without_a_nucleus_keeps_its_bits_beside_one_with() -> None:
    logits_bv = torch.randn(16, 50, generator=torch.Generator().manual_seed(0))
    top_p_b = torch.ones(16)
    top_p_b[3] = 0.5
    left_bv = nucleus(logits_bv, top_p_b)
    assert torch.equal(left_bv[4], logits_bv[4])
