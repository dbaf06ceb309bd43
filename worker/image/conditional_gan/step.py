"""The adversarial step, on pictures and chance that lie on the device: nothing of it waits for the
processor, so that a GPU can replay it.

B batch, C channels, H height, W width, Z latent length, L number of labels, K numbers drawn.
"""

import torch
from torch import Tensor, nn

from worker.device import fast_precision
from worker.image.conditional_gan.augment import Augment
from worker.image.conditional_gan.data import to_images
from worker.image.conditional_gan.loss import RelativisticLoss
from worker.image.conditional_gan.network import Discriminator, Generator


class Step:
    """One step of the discriminator, then one of the generator, on the same pictures.

    Real ones come as uint8 (B, H, W, C), labels as weights (B, L), latents as (B, Z), and what was
    drawn to augment real and generated pictures as (K, B) each.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        learning_rate: float,
        gamma: float,
        augment: Augment,
    ):
        self.generator, self.discriminator = generator, discriminator
        self.generator_adam = _adam(generator, learning_rate)
        self.discriminator_adam = _adam(discriminator, learning_rate)
        self.loss = RelativisticLoss(discriminator, gamma)
        self.augment = augment

    def __call__(
        self,
        pixels_bhwc: Tensor,
        label: Tensor,
        latent: Tensor,
        drawn_for_real: Tensor,
        drawn_for_fake: Tensor,
        *,
        penalise: bool,
    ) -> Tensor:
        """The losses of generator and discriminator, and the penalty within the latter, (3,)."""
        with fast_precision(label.device):
            real = self.augment.apply(to_images(pixels_bhwc), drawn_for_real)
            fake = self.augment.apply(self.generator(latent, label), drawn_for_fake)

            loss, penalty = self.loss.discriminator_loss(
                real, fake.detach(), label, penalise=penalise
            )
            _descend(self.discriminator_adam, loss)

            self.discriminator.requires_grad_(False)
            generator_loss = self.loss.generator_loss(real, fake, label)
            _descend(self.generator_adam, generator_loss)
            self.discriminator.requires_grad_(True)
        return torch.stack([generator_loss.detach(), loss.detach(), penalty])

    def set_learning_rate(self, rate: float) -> None:
        for adam in (self.generator_adam, self.discriminator_adam):
            for group in adam.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate


def _adam(network: nn.Module, learning_rate: float) -> torch.optim.Adam:
    device = next(network.parameters()).device
    on_gpu = device.type == "cuda"
    # What is replayed reads its rate from the device.
    rate = torch.tensor(learning_rate, device=device) if on_gpu else learning_rate
    weights = network.parameters()
    return torch.optim.Adam(weights, rate, betas=(0.0, 0.99), fused=True, capturable=on_gpu)


def _descend(adam: torch.optim.Adam, loss: Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()
