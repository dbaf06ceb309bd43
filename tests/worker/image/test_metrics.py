"""The distances agree with what can be worked out by hand."""

import pytest
import torch

from worker.image.metrics import (
    frechet_distance,
    kernel_distance,
    median_nearest,
    neighbourhoods,
)


def normal(count: int, features: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, features, generator=torch.Generator().manual_seed(seed))


def test_frechet_distance_of_two_gaussians_is_the_formula():
    one = normal(50_000, seed=1)
    other = 3 * normal(50_000, seed=2) + 2

    # |m1 - m2|² = 8 · 2², tr(I + 9 I - 2 · 3 I) = 8 · 4
    assert frechet_distance(one, other) == pytest.approx(64, rel=0.02)


def test_frechet_distance_to_itself_is_zero_also_with_features_that_never_fire():
    features = torch.cat([normal(100), torch.zeros(100, 8)], dim=1)

    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_is_that_of_the_general_matrix_root():
    mix = normal(8, seed=3)
    one, other = normal(500, seed=1), normal(500, seed=2) @ mix

    product = torch.cov(one.double().T) @ torch.cov(other.double().T)
    root_trace = torch.linalg.eigvals(product).real.clamp(min=0).sqrt().sum()
    means = (one.double().mean(0) - other.double().mean(0)).square().sum()
    traces = torch.cov(one.double().T).trace() + torch.cov(other.double().T).trace()

    assert frechet_distance(one, other) == pytest.approx(float(means + traces - 2 * root_trace))


def test_kernel_distance_has_no_bias_and_sees_a_shift():
    trials = [kernel_distance(normal(50, seed=k), normal(50, seed=100 + k)) for k in range(50)]

    assert abs(sum(trials) / 50) < 0.1
    assert kernel_distance(normal(50), normal(50, seed=1) + 1) > 1


def test_a_copy_of_everything_is_covered_and_precise():
    real = normal(100)

    near = neighbourhoods(real, real + 1e-4)

    assert (near.precision, near.recall, near.coverage) == (1, 1, 1)
    assert near.density == pytest.approx(1, abs=0.3)


def test_a_model_that_makes_one_thing_is_precise_and_covers_little():
    real = normal(100)

    near = neighbourhoods(real, real[:1] + 1e-3 * normal(100, seed=1))

    assert near.precision == 1
    assert near.coverage < 0.2
    assert near.recall < 0.2


def test_noise_far_away_is_neither():
    near = neighbourhoods(normal(100), normal(100, seed=1) + 50)

    assert (near.precision, near.coverage, near.density) == (0, 0, 0)


def test_the_nearest_of_a_copy_is_at_distance_zero():
    among = normal(2000)

    assert median_nearest(among[:600], among) == pytest.approx(0, abs=1e-2)
    assert median_nearest(normal(600, seed=1), among) > 0.5
