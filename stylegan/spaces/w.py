"""W and W+: the output of the mapping, one w for all style inputs or one for each."""

import torch
from torch import Tensor

from ..generator import Generator
from .space import Space, register


class W(Space):
    """ "Image2StyleGAN: How to Embed Images Into the StyleGAN Latent Space?", section 5.1."""

    kind = "w"

    def random_code(
        self, generator: Generator, rng: torch.Generator, label: Tensor | None
    ) -> Tensor:
        """Uniform in [-1, 1], as Image2StyleGAN initialises images that are not faces."""
        return torch.rand(1, *self.shape(generator), generator=rng) * 2 - 1


register(W(), W(plus=True))
