"""The base of the recipes that train on photos and samples, with a critic of the results.

Legend: N images, C channels, R image resolution.
"""

from typing import Any

from torch import Tensor

from facsimile.stylegan import Discriminator, freeze
from facsimile.training import BatchSlice

from .adversarial import critic_losses, initial_critic
from .targets import TargetRecipe, Targets


class AdversarialRecipe(TargetRecipe):
    """A kind's recipe calls `_add_critic` at the end of its constructor if it has the term."""

    settings: Any  # with the section `r1`
    critic: Discriminator | None = None
    """Begins as a copy of the generator's discriminator; None without an adversarial term."""

    def _add_critic(self, *, trained: bool = True) -> None:
        """trained: the critic learns, before the encoder in every step; else it is frozen."""
        initial = initial_critic(
            self.discriminator,
            self.generator.resolution,
            self.group_size,
            photos=bool(self.settings.photos.fraction),
        )
        self.critic = self._to_device(initial)
        if trained:
            critic = self._trainable("critic", self.critic, uses_forward_graph=False)
            self.trainables = (critic, *self.trainables)
        else:
            freeze(self.critic)

    def _critic_losses(
        self, batch: BatchSlice, target: Targets, image: Tensor
    ) -> dict[str, Tensor]:
        """softplus(D(image)) + softplus(-D(x)) + gamma / 2 |grad D(x)|^2, x the targets.

        "In-Domain GAN Inversion for Real Image Editing", equation 3. image: (N, C, R, R).
        """
        return critic_losses(
            target.image,
            lambda real: self._discriminate(real, target.label),
            lambda: self._discriminate(image.detach(), target.label),
            batch.step,
            self.settings.r1,
        )

    def _discriminate(self, image: Tensor, label: Tensor | None) -> Tensor:
        """Logits (N, 1) of the critic."""
        assert self.critic is not None
        with self.settings.autocast(self.device):
            label = label if self.critic.config.c_dim else None
            return self.critic(image, label).to(self.settings.dtype)
