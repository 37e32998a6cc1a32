"""What the encoders' networks share: how they take images, and batch normalisation over groups.

Legend: N images, C channels, HxW pixels, R image resolution, G images of a group.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.metrics.resize import resize
from facsimile.stylegan import Discriminator, Generator
from facsimile.stylegan.layers import image_layout

MIN_SIDE = 4
"""Side of the last feature map of a convolutional network, in pixels."""
FEATURE_NET_ARCH = "stylegan2"
"""Architecture of the discriminators that can be a feature network: their configuration is
complete, so that an encoder's file can hold one."""


def check_resolution(resolution: int, at_least: int = MIN_SIDE) -> None:
    """ValueError unless repeated halving leads to MIN_SIDE, from at least so many pixels."""
    if resolution < at_least or resolution & (resolution - 1):
        raise ValueError(
            f"the encoder's resolution is {resolution}; it must be a power of two, "
            f"at least {at_least}"
        )


def default_resolution(generator: Generator) -> int:
    """The generator's resolution, or the power of two below it."""
    return 1 << (generator.resolution.bit_length() - 1)


def channel_schedule(resolution: int, width: int, max_width: int) -> list[int]:
    """Channels of the first stage and after each of its log2(resolution / 4) halvings."""
    halvings = (resolution // MIN_SIDE).bit_length() - 1
    return [min(width << i, max_width) for i in range(halvings + 1)]


def prepare_images(images: Tensor, channels: int, resolution: int) -> Tensor:
    """Images (N, channels, R, R) of any R -> (N, channels, resolution, resolution).

    Raises ValueError for other shapes.
    """
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
    return image_layout(resize(images, (resolution, resolution)))


def feature_net_config(discriminator: Discriminator | None) -> dict[str, Any] | None:
    """Configuration of a discriminator as JSON; None for one that cannot be a feature network."""
    if discriminator is None or discriminator.config.architecture != FEATURE_NET_ARCH:
        return None
    return asdict(discriminator.config) | {"channels": list(discriminator.config.channels)}


class GhostBatchNorm(nn.Module):
    """Batch normalisation over groups of G images instead of the whole batch.

    "Train longer, generalize better: closing the generalization gap in large batch training of
    neural networks" (Hoffer 2017), algorithm 1. The result does not depend on how a batch is split
    over processes and micro-steps, as long as each group stays together.

    x: (N, C) or (N, C, H, W). Training: groups lie in the batch as
    `training.keyed_sampler.interleave_groups` puts them; `update_running_stats` moves the running
    statistics once per step. Evaluation: the running statistics are used.
    """

    def __init__(self, channels: int, group_size: int):
        super().__init__()
        self.group_size = group_size
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.batch_stats: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias)
        n, channels, *sides = x.shape
        groups = n // self.group_size
        mean, variance = self.mean.repeat(groups), self.variance.repeat(groups)
        weight, bias = self.weight.repeat(groups), self.bias.repeat(groups)
        x = x.reshape(self.group_size, groups * channels, *sides)
        # A momentum of 1 writes the statistics of this batch into mean and variance.
        x = F.batch_norm(x, mean, variance, weight, bias, training=True, momentum=1.0)
        self.batch_stats.append(torch.stack([mean, variance]).view(2, groups, channels).mean(1))
        return x.reshape(n, channels, *sides)


def _ghost_norms(network: nn.Module) -> list[GhostBatchNorm]:
    return [module for module in network.modules() if isinstance(module, GhostBatchNorm)]


def discard_batch_stats(network: nn.Module) -> None:
    """Forget the statistics since the last update, of images that will be computed again."""
    for norm in _ghost_norms(network):
        norm.batch_stats.clear()


@torch.no_grad()
def update_running_stats(
    network: nn.Module, weight: float, all_mean: Callable[[Tensor], Tensor]
) -> None:
    """running = (1 - weight) running + weight batch, with all batches since the last update.

    all_mean: mean of a tensor over all processes.
    """
    norms = [norm for norm in _ghost_norms(network) if norm.training]
    if not norms:
        return
    stats = [torch.stack(norm.batch_stats).mean(0) for norm in norms]
    means = all_mean(torch.cat(stats, 1)).split([x.shape[1] for x in stats], 1)
    for norm, (mean, variance) in zip(norms, means, strict=True):
        norm.mean.lerp_(mean, weight)
        norm.variance.lerp_(variance, weight)
        norm.batch_stats.clear()
