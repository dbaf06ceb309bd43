"""The loss is the paper's: checked against a discriminator whose gradients are known."""

import math

import torch
from torch import Tensor

from worker.image.conditional_gan.loss import PENALTY_EVERY, RelativisticLoss

LABEL = torch.zeros(2, 0)
REAL, FAKE = torch.full((2, 1, 4, 4), 0.5), torch.full((2, 1, 4, 4), 0.25)
SLOPE = 0.1


def linear(image: Tensor, label: Tensor) -> Tensor:
    """D(x) = SLOPE · Σx, so |dD/dx|² is SLOPE² times the number of pixels."""
    return SLOPE * image.sum(dim=(1, 2, 3))


def test_the_discriminator_compares_real_with_generated():
    loss, penalty = RelativisticLoss(linear, 2.0).discriminator_loss(
        REAL, FAKE, LABEL, penalise=False
    )

    difference = SLOPE * 16 * (0.5 - 0.25)
    assert math.isclose(loss.item(), math.log1p(math.exp(-difference)), rel_tol=1e-5)
    assert penalty == 0


def test_both_penalties_enter_with_half_of_gamma_and_make_up_for_the_steps_without():
    gamma = 2.0
    step = RelativisticLoss(linear, gamma)

    with_penalty, penalty = step.discriminator_loss(REAL, FAKE, LABEL, penalise=True)
    without, _ = step.discriminator_loss(REAL, FAKE, LABEL, penalise=False)

    r1 = r2 = SLOPE**2 * 16
    assert math.isclose(penalty.item(), (r1 + r2) / 2, rel_tol=1e-5)
    expected = without.item() + PENALTY_EVERY * gamma / 2 * (r1 + r2)
    assert math.isclose(with_penalty.item(), expected, rel_tol=1e-5)


def test_the_generator_is_taught_to_look_more_real_than_the_real():
    fake = FAKE.clone().requires_grad_()

    loss = RelativisticLoss(linear, 2.0).generator_loss(REAL, fake, LABEL)
    loss.backward()

    difference = SLOPE * 16 * (0.25 - 0.5)
    assert math.isclose(loss.item(), math.log1p(math.exp(-difference)), rel_tol=1e-5)
    assert fake.grad is not None
    assert (fake.grad < 0).all()
