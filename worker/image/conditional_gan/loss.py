"""The adversarial step: a relativistic pairing loss with zero-centred gradient penalties.

Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern GAN Baseline" (arXiv 2501.05441).
B batch, C channels, H height, W width, L number of labels.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

PENALTY_EVERY = 4
"""The penalties change slowly: every 4th step, 4 times as strong, costs less and does the same."""

Discriminate = Callable[[Tensor, Tensor], Tensor]


class RelativisticLoss:
    """Each generated picture g is judged against a real one x of the same label y:

        D minimises  softplus(-(D(x, y) - D(g, y)))  +  gamma/2 · (R1 + R2)
        G minimises  softplus(-(D(g, y) - D(x, y)))
        R1 = |dD(x, y)/dx|²,   R2 = |dD(g, y)/dg|²

    Pictures come augmented, (B, C, H, W); labels as weights (B, L). Losses are scalars in float32.
    """

    def __init__(self, discriminator: Discriminate, gamma: float):
        self.discriminator = discriminator
        self.gamma = gamma

    def discriminator_loss(
        self, real: Tensor, fake: Tensor, label: Tensor, *, penalise: bool
    ) -> tuple[Tensor, Tensor]:
        """The loss of D (with the penalties if `penalise`), and (R1 + R2)/2 by itself."""
        both = torch.cat([real, fake]).detach().requires_grad_(penalise)
        logits = self.discriminator(both, torch.cat([label, label])).float()
        on_real, on_fake = logits.chunk(2)
        adversarial = F.softplus(on_fake - on_real).mean()
        if not penalise:
            return adversarial, torch.zeros((), device=real.device)
        (slope_bchw,) = torch.autograd.grad(logits.sum(), both, create_graph=True)
        # Over real and generated together, the mean is (R1 + R2)/2.
        penalty = slope_bchw.float().square().sum(dim=(1, 2, 3)).mean()
        return adversarial + PENALTY_EVERY * self.gamma * penalty, penalty.detach()

    def generator_loss(self, real: Tensor, fake: Tensor, label: Tensor) -> Tensor:
        """The loss of G; the gradient flows through `fake`."""
        with torch.no_grad():
            on_real = self.discriminator(real, label).float()
        return F.softplus(on_real - self.discriminator(fake, label).float()).mean()
