"""The W projector: one w, the mean of all style inputs, with noise maps that are kept noise.

"Analyzing and Improving the Image Quality of StyleGAN", appendix D, with its numbers.

Legend: N images, D numbers in w.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from facsimile import metrics
from facsimile.metrics import Perceptual
from facsimile.stylegan import Generator


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Those of the paper."""

    samples: int = 10_000
    """Of w, whose spread is the unit of the noise that is added to it."""
    steps: int = 1000
    lr: float = 0.1
    rampup: float = 0.05
    """Share of the steps in which the rate rises."""
    rampdown: float = 0.25
    """Share of the steps in which it falls."""
    noise: float = 0.05
    """Of w at the beginning, in standard deviations of w."""
    noise_until: float = 0.75
    """Share of the steps in which the noise of w falls to 0."""
    noise_weight: float = 1e5
    """Of the regularisation of the noise maps."""


@dataclass
class Projection:
    """Where the projector ends."""

    w: Tensor
    """(N, D)"""
    noise: tuple[Tensor, ...]
    """(N, 1, r, r) each."""


def project(
    generator: Generator, targets: Tensor, perceptual: Perceptual, settings: Settings
) -> Projection:
    """The w and noise maps that redraw targets (N, C, R, R) in [-1, 1]."""
    with torch.no_grad():
        seeded = torch.Generator().manual_seed(0)
        z = torch.randn(settings.samples, generator.z_dim, generator=seeded)
        samples = generator.mapping(z.to(targets))
        deviation = float((samples - samples.mean(0)).square().sum(1).mean().sqrt())
        w = samples.mean(0)[None].repeat(len(targets), 1)
        goal = perceptual.features(targets)
    source = torch.Generator().manual_seed(1)
    maps = [torch.randn(x.shape, generator=source) for x in generator.noise_maps(len(targets))]
    noise = [x.to(targets).requires_grad_() for x in maps]
    w.requires_grad_()
    optimiser = torch.optim.Adam([w, *noise], betas=(0.9, 0.999))
    for step in range(settings.steps):
        done = step / settings.steps
        optimiser.param_groups[0]["lr"] = settings.lr * _rate(done, settings)
        size = settings.noise * deviation * max(0.0, 1 - done / settings.noise_until) ** 2
        moved = w + torch.randn(w.shape, generator=source).to(w) * size
        image = generator.synthesize(generator.broadcast_ws(moved), noise)
        loss = metrics.distance(perceptual.features(image), goal).sum()
        loss = loss + settings.noise_weight * sum(autocorrelation(x) for x in noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for x in noise:
                x -= x.mean((2, 3), keepdim=True)
                x *= x.square().mean((2, 3), keepdim=True).rsqrt()
    return Projection(w.detach(), tuple(x.detach() for x in noise))


def autocorrelation(noise: Tensor) -> Tensor:
    """Squared mean products with the neighbours, at all sizes down to 8 px (appendix D)."""
    total = noise.new_zeros([])
    while True:
        for axis in (2, 3):
            total = total + (noise * noise.roll(1, axis)).mean((1, 2, 3)).square().sum()
        if noise.shape[-1] <= 8:
            return total
        noise = avg_pool2d(noise, 2) * 2  # keeps the variance


def _rate(done: float, settings: Settings) -> float:
    fall = min(1.0, (1 - done) / settings.rampdown)
    rise = min(1.0, done / settings.rampup)
    return (0.5 - 0.5 * math.cos(fall * math.pi)) * rise
