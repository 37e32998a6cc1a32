"""Pivotal tuning: the W projector finds a pivot, then the generator's weights are tuned at it.

"Pivotal Tuning for Latent-based Editing of Real Images", sections 3.1 and 3.2, without the locality
regularisation of section 3.3; steps and rates are those of its appendix.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from facsimile import metrics
from facsimile.metrics import Perceptual
from facsimile.stylegan import Generator

from . import w_projector


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Those of the paper."""

    pivot: w_projector.Settings = w_projector.Settings(steps=450, lr=5e-3)
    steps: int = 350
    lr: float = 3e-4
    pixel: float = 1.0
    """Weight of the mean squared error; that of the perceptual distance is 1."""


def invert(
    generator: Generator, target: Tensor, perceptual: Perceptual, settings: Settings
) -> tuple[Generator, Tensor, tuple[Tensor, ...]]:
    """A generator tuned to one target (1, C, R, R), its pivot's w, and the noise maps."""
    pivot = w_projector.project(generator, target, perceptual, settings.pivot)
    tuned = copy.deepcopy(generator).requires_grad_(True)
    weights = list(tuned.synthesis.parameters())
    optimiser = torch.optim.Adam(weights, lr=settings.lr)
    with torch.no_grad():
        goal = perceptual.features(target)
    for _ in range(settings.steps):
        image = tuned.synthesize(tuned.broadcast_ws(pivot.w), pivot.noise)
        loss = metrics.distance(perceptual.features(image), goal).sum()
        loss = loss + settings.pixel * (image - target).square().mean()
        optimiser.zero_grad()
        loss.backward(inputs=weights)
        optimiser.step()
    return tuned.requires_grad_(False), pivot.w, pivot.noise
