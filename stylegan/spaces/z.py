"""Z and Z+: the sphere of radius sqrt(z_dim), where the Gaussian prior has its mass.

"Revisiting Latent Space of GAN Inversion for Real Image Editing", section 3.
"""

import math

import torch
from torch import Tensor

from ..generator import Generator
from .space import Space, register


class Z(Space):
    """One z for all style inputs, or with `plus` one for each."""

    kind = "z"
    default_init = "random"
    needs_label = True

    @property
    def contains_w_plus(self) -> bool:
        return False

    def shape(self, generator: Generator) -> tuple[int, ...]:
        return (generator.num_ws, generator.z_dim) if self.plus else (generator.z_dim,)

    def decode(self, generator: Generator, code: Tensor, label: Tensor | None = None) -> Tensor:
        return generator.map(code, label)

    def retract(self, code: Tensor) -> Tensor:
        """z sqrt(D) / |z| (equation 5)."""
        norm = torch.linalg.vector_norm(code, dim=-1, keepdim=True)
        return code * (math.sqrt(code.shape[-1]) / norm)

    def deviation(self, generator: Generator, code: Tensor, first: int = 0) -> Tensor:
        """(N,) largest relative distance | |z| / sqrt(D) - 1 | from the sphere."""
        code = code[:, first:] if self.plus else code[:, None]
        return (
            (torch.linalg.vector_norm(code, dim=-1) / math.sqrt(code.shape[-1]) - 1).abs().amax(1)
        )

    def mean_code(self, generator: Generator, label: Tensor | None) -> Tensor:
        raise ValueError('a sphere has no mean: initialise a code in Z or Z+ with "random"')

    def random_code(
        self, generator: Generator, rng: torch.Generator, label: Tensor | None
    ) -> Tensor:
        return self.retract(super().random_code(generator, rng, label))


register(Z(), Z(plus=True))
