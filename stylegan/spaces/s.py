"""S, StyleSpace: the affine outputs of all modulated layers, toRGB included, concatenated.

"StyleSpace Analysis: Disentangled Controls for StyleGAN Image Generation", section 3.
"""

import math

import torch
from torch import Tensor

from .. import statistics
from ..generator import Generator
from .space import Space, register
from .whitening import mean_w


class S(Space):
    """One vector per image, with the styles of all layers."""

    kind = "s"

    @property
    def contains_w_plus(self) -> bool:
        return True

    def shape(self, generator: Generator) -> tuple[int, ...]:
        return (sum(generator.style_sizes),)

    def decode(
        self, generator: Generator, code: Tensor, label: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        return code.split(generator.style_sizes, dim=1)

    def from_w_plus(self, generator: Generator, ws: Tensor) -> Tensor:
        return torch.cat(generator.styles(ws), 1)

    def whitened(self, generator: Generator, code: Tensor, first: int) -> Tensor:
        """(s - mean) / standard deviation per channel; both follow from the moments of w."""
        moments = statistics.latent_statistics(generator)
        mean = self.mean_code(generator, None)
        variance, inputs = [], []
        for layer in generator.synthesis.layers:
            if layer.affine is not None and layer.style is not None:
                weight = layer.affine.weight / math.sqrt(generator.w_dim)
                variance.append(((weight @ moments.w_covariance) * weight).sum(1))
                inputs.append(layer.style)
        white = (code - mean) / torch.cat(variance).sqrt()
        parts = white.split([len(part) for part in variance], dim=1)
        return torch.cat([x for x, index in zip(parts, inputs, strict=True) if index >= first], 1)

    def mean_code(self, generator: Generator, label: Tensor | None) -> Tensor:
        ws = generator.broadcast_ws(mean_w(generator, label))
        return self.from_w_plus(generator, ws)

    def random_code(
        self, generator: Generator, rng: torch.Generator, label: Tensor | None
    ) -> Tensor:
        z = torch.randn(1, generator.z_dim, generator=rng).to(generator.mapping.w_avg)
        z = z if label is None else z.expand(len(label), -1)
        return self.from_w_plus(generator, generator.map(z, label))


register(S())
