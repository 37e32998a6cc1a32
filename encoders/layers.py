"""What the encoders' networks share: how they take images, and their batch normalisation.

Legend: N images, C channels, HxW pixels, R side of the image, G images of a group.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.metrics.resize import resize
from facsimile.stylegan import Discriminator
from facsimile.stylegan.layers import image_layout

SMALLEST = 4
"""Side of the last feature map of a tower, in pixels."""
EYES = "stylegan2"
"""Architecture of discriminators that serve as eyes: a file holds all that they are."""


def check_resolution(side: int) -> None:
    """ValueError unless halving leads to SMALLEST."""
    if side < SMALLEST or side & (side - 1):
        raise ValueError(
            f"the encoder's resolution is {side}; it must be a power of two, at least {SMALLEST}"
        )


def widths(side: int, width: int, most: int) -> list[int]:
    """Channels of a tower's first stage, and after each of its log2(side / 4) halvings."""
    halvings = (side // SMALLEST).bit_length() - 1
    return [min(width << i, most) for i in range(halvings + 1)]


def shown(images: Tensor, channels: int, side: int) -> Tensor:
    """Images (N, channels, R, R) of any R as (N, channels, side, side); ValueError on others."""
    if images.ndim != 4 or images.shape[1] != channels:
        raise ValueError(
            f"got images of the shape {tuple(images.shape)}; this encoder takes "
            f"(N, {channels}, R, R) in [-1, 1]"
        )
    if images.shape[2] != images.shape[3]:
        raise ValueError(
            f"got images of {images.shape[3]}x{images.shape[2]} pixels; "
            "this encoder takes squares: crop them first"
        )
    return image_layout(resize(images, (side, side)))


def describe(eyes: Discriminator | None) -> dict[str, Any] | None:
    """Its configuration as a file would give it back; None for one that cannot serve as eyes."""
    if eyes is None or eyes.config.architecture != EYES:
        return None
    return asdict(eyes.config) | {"channels": list(eyes.config.channels)}


class GhostBatchNorm(nn.Module):
    """Batch normalisation over groups of G images, so that it does not matter where they are.

    x: (N, C) or (N, C, H, W). Training: the images of a group lie as `training.draws.together`
    lays them out, and the running statistics move in `settle`, once per step, by those of all
    groups. In use: by these.
    """

    def __init__(self, channels: int, group: int):
        super().__init__()
        self.group = group
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.drawn: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias)
        n, channels, *sides = x.shape
        groups = n // self.group
        mean, variance = self.mean.repeat(groups), self.variance.repeat(groups)
        weight, bias = self.weight.repeat(groups), self.bias.repeat(groups)
        x = x.reshape(self.group, groups * channels, *sides)
        # A momentum of 1 puts this batch's own statistics into mean and variance.
        x = F.batch_norm(x, mean, variance, weight, bias, training=True, momentum=1.0)
        self.drawn.append(torch.stack([mean, variance]).view(2, groups, channels).mean(1))
        return x.reshape(n, channels, *sides)


def _norms(network: nn.Module) -> list[GhostBatchNorm]:
    return [module for module in network.modules() if isinstance(module, GhostBatchNorm)]


def forget(network: nn.Module) -> None:
    """Drop the statistics drawn since the last time: of images that will be drawn again."""
    for norm in _norms(network):
        norm.drawn.clear()


@torch.no_grad()
def settle(network: nn.Module, share: float, mean: Callable[[Tensor], Tensor]) -> None:
    """Move the running statistics by `share` towards those drawn since the last time.

    mean: of a tensor over all processes.
    """
    norms = [norm for norm in _norms(network) if norm.training]
    if not norms:
        return
    drawn = [torch.stack(norm.drawn).mean(0) for norm in norms]
    means = mean(torch.cat(drawn, 1)).split([x.shape[1] for x in drawn], 1)
    for norm, (own, variance) in zip(norms, means, strict=True):
        norm.mean.lerp_(own, share)
        norm.variance.lerp_(variance, share)
        norm.drawn.clear()
