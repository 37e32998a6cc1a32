"""The latent spaces: Z, Z+, W, W+, P_N, P_N+, S, and F/x for every x.

A space knows how a code starts, how it becomes what synthesis takes, how it is retracted onto the
space, and how far it has strayed from the generator's own samples.

Where the mapping gives every style input a w of its own (IDInvert), Z maps one z to all of them,
Z+ takes from every z the w of its own input, and one code of W or P_N still serves all inputs: it
starts from the mean over the inputs, a code of W+, P_N+ or S from the mean of every input.

Legend: N images, L style inputs (num_ws), D numbers in a code vector.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from . import statistics
from .generator import Generator
from .layers import SLOPE
from .randomness import keyed_generator


@dataclass(frozen=True)
class Space:
    """A space; `parse` finds one by name. plus: a code per style input instead of one for all."""

    plus: bool

    kind = ""
    default_start = "mean"

    @property
    def name(self) -> str:
        return self.kind + "+" * self.plus

    def shape(self, generator: Generator) -> tuple[int, ...]:
        """Shape of one image's code."""
        return (generator.num_ws, generator.w_dim) if self.plus else (generator.w_dim,)

    def start(
        self, generator: Generator, n: int, how: str, seed: int = 0, c: Tensor | None = None
    ) -> Tensor:
        """(N, *shape): how = "mean" or "random". One seeded draw serves all images.

        So an image starts from the same code alone and in any batch. c: (N, c_dim) labels.
        """
        if how == "mean":
            code = self._mean(generator, c)
        elif how == "random":
            code = self._random(generator, keyed_generator("cpu", seed, "start"), c)
        else:
            raise ValueError(f'a code starts from "mean" or "random", got "{how}"')
        shape = self.shape(generator)
        return code.to(generator.mapping.w_avg).expand(n, *shape).clone()

    def decode(self, generator: Generator, code: Tensor, c: Tensor | None = None) -> Tensor:
        """code (N, *shape) -> ws (N, L, w_dim), or for S the styles."""
        return generator.broadcast_ws(code)

    def retract(self, code: Tensor) -> Tensor:
        """The code moved onto the space; itself where the space is all of R^D."""
        return code

    def mahalanobis_sq(self, generator: Generator, code: Tensor, first: int = 0) -> Tensor:
        """(N,) mean square of the whitened coordinates, over the inputs from `first` on.

        mean(p_N^2), the norm of Improved StyleGAN Embedding's equation 3; 1 is typical of samples.
        """
        return self._whitened(generator, code, first).square().flatten(1).mean(1)

    def deviation(self, generator: Generator, code: Tensor, first: int = 0) -> Tensor:
        """(N,) how far a code is from the generator's samples: the root of `prior`."""
        return self.mahalanobis_sq(generator, code, first).sqrt()

    def _whitened(self, generator: Generator, code: Tensor, first: int) -> Tensor:
        return whiten(generator, code[:, first:] if self.plus else code)

    def _mean(self, generator: Generator, c: Tensor | None) -> Tensor:
        w = mean_w(generator, c)
        if self.plus:
            return generator.broadcast_ws(w)
        return w if w.ndim == 2 else w.mean(1)

    def _random(self, generator: Generator, rng: torch.Generator, c: Tensor | None) -> Tensor:
        return torch.randn(1, *self.shape(generator), generator=rng)


class Z(Space):
    """Z and Z+: the sphere of radius sqrt(z_dim), on which the Gaussian prior has its mass.

    "Revisiting Latent Space of GAN Inversion for Real Image Editing", section 3.
    """

    kind = "z"
    default_start = "random"

    def shape(self, generator: Generator) -> tuple[int, ...]:
        return (generator.num_ws, generator.z_dim) if self.plus else (generator.z_dim,)

    def decode(self, generator: Generator, code: Tensor, c: Tensor | None = None) -> Tensor:
        return generator.map(code, c)

    def retract(self, code: Tensor) -> Tensor:
        """z sqrt(D) / |z| (equation 5)."""
        return code * (math.sqrt(code.shape[-1]) / code.norm(dim=-1, keepdim=True))

    def deviation(self, generator: Generator, code: Tensor, first: int = 0) -> Tensor:
        """(N,) largest relative distance | |z| / sqrt(D) - 1 | from the sphere."""
        code = code[:, first:] if self.plus else code[:, None]
        return (code.norm(dim=-1) / math.sqrt(code.shape[-1]) - 1).abs().amax(1)

    def _mean(self, generator: Generator, c: Tensor | None) -> Tensor:
        raise ValueError('a sphere has no mean: a code in Z or Z+ starts from "random"')

    def _random(self, generator: Generator, rng: torch.Generator, c: Tensor | None) -> Tensor:
        return self.retract(super()._random(generator, rng, c))


class W(Space):
    kind = "w"

    def _random(self, generator: Generator, rng: torch.Generator, c: Tensor | None) -> Tensor:
        """Uniform in [-1, 1], Image2StyleGAN's start for everything but faces (section 4.2)."""
        return torch.rand(1, *self.shape(generator), generator=rng) * 2 - 1


class PN(Space):
    """P_N and P_N+: w Gaussianised and whitened, so that its density is known."""

    kind = "p_n"

    def decode(self, generator: Generator, code: Tensor, c: Tensor | None = None) -> Tensor:
        return generator.broadcast_ws(unwhiten(generator, code))

    def _whitened(self, generator: Generator, code: Tensor, first: int) -> Tensor:
        return code[:, first:] if self.plus else code

    def _mean(self, generator: Generator, c: Tensor | None) -> Tensor:
        return whiten(generator, super()._mean(generator, c))


class S(Space):
    """StyleSpace: the affine outputs of all modulated layers, toRGB too, end to end."""

    kind = "s"

    def shape(self, generator: Generator) -> tuple[int, ...]:
        return (sum(generator.style_sizes),)

    def decode(
        self, generator: Generator, code: Tensor, c: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        return code.split(generator.style_sizes, dim=1)

    def _whitened(self, generator: Generator, code: Tensor, first: int) -> Tensor:
        """(s - mean) / standard deviation by channel; both follow from those of w."""
        known = statistics.latent_statistics(generator)
        mean = self._mean(generator, None)
        variance = []
        layers = [layer for layer in generator.synthesis.layers if layer.affine is not None]
        for layer in layers:
            weight = layer.affine.weight / math.sqrt(generator.w_dim)
            variance.append(((weight @ known.w_covariance) * weight).sum(1))
        white = (code - mean) / torch.cat(variance).sqrt()
        parts = white.split([len(part) for part in variance], dim=1)
        return torch.cat([p for p, x in zip(parts, layers, strict=True) if x.style >= first], 1)

    def _mean(self, generator: Generator, c: Tensor | None) -> Tensor:
        return torch.cat(generator.styles(generator.broadcast_ws(mean_w(generator, c))), 1)

    def _random(self, generator: Generator, rng: torch.Generator, c: Tensor | None) -> Tensor:
        z = torch.randn(1, generator.z_dim, generator=rng).to(generator.mapping.w_avg)
        z = z if c is None else z.expand(len(c), -1)
        return torch.cat(generator.styles(generator.map(z, c)), 1)


SPACES = {
    space.name: space
    for space in (Z(False), Z(True), W(False), W(True), PN(False), PN(True), S(False))
}


def parse(name: str) -> tuple[Space, bool]:
    """ "f/z+" -> (Z+, True): the space of the code, and whether a feature goes with it."""
    inner = name.removeprefix("f/")
    if inner not in SPACES:
        raise ValueError(
            f'there is no space "{name}"; choose one of {", ".join(SPACES)}, or f/ and one of these'
        )
    return SPACES[inner], inner != name


def whiten(generator: Generator, w: Tensor) -> Tensor:
    """w (..., D) -> P_N (..., D), zero mean, unit covariance (Improved StyleGAN Embedding)."""
    known = statistics.latent_statistics(generator)
    return (statistics.gaussianize(w) - known.p_mean) @ (known.p_basis / known.p_std)


def unwhiten(generator: Generator, code: Tensor) -> Tensor:
    """The inverse of `whiten`."""
    known = statistics.latent_statistics(generator)
    return F.leaky_relu((code * known.p_std) @ known.p_basis.T + known.p_mean, SLOPE)


@torch.no_grad()
def mean_w(generator: Generator, c: Tensor | None = None, samples: int = 10_000) -> Tensor:
    """(1, D) mean of f(z); with a label the mean of f(z, c) for that label (N, D).

    (.., L, D) where f(z) has a w for every style input.
    """
    if c is None or not generator.c_dim:
        return statistics.latent_statistics(generator).w_mean[None]
    z = torch.randn(samples, generator.z_dim, generator=keyed_generator("cpu", 0, "mean w"))
    z = z.to(generator.mapping.w_avg)
    rows = [generator.mapping(z, label.expand(samples, -1)).mean(0) for label in c]
    return torch.stack(rows)
