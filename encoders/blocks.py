"""Convolutional blocks that the encoders' networks share.

Legend: N images, C channels, HxW pixels of a feature map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.stylegan.pooling import mean2x2

NORM_GROUPS = 8
"""Groups of every group normalisation; channels are multiples of it."""
MIN_SCALE = 1e-3
"""Smallest scale of a channel, as a share of the mean scale: some channels hardly vary."""


class ResidualBlock(nn.Module):
    """(N, C, H, W) -> (N, C, H, W): x + conv(silu(norm(conv(silu(norm(x)))))), 3x3.

    The last convolution is 0 at first, so that a new block is the identity. Group normalisation
    ("Group Normalization", Wu and He, 2018) has no statistics of the batch: an image has the same
    result alone and in any batch.
    """

    def __init__(self, channels: int):
        """channels: a multiple of NORM_GROUPS."""
        super().__init__()
        self.norm0 = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv0 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv1 = zero_init(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv0(F.silu(self.norm0(x)))
        return x + self.conv1(F.silu(self.norm1(y)))


class Hourglass(nn.Module):
    """(N, C, H, W) -> (N, C, H, W), H and W even: residual blocks, some of them at half the side.

    The path through half the side adds nothing at first.
    """

    def __init__(self, channels: int, inner_channels: int, counts: tuple[int, int, int]):
        """inner_channels: at half the side; counts: blocks before, at and after half the side."""
        super().__init__()
        before, inner, after = counts
        self.before = residual_blocks(channels, before)
        self.down = nn.Conv2d(channels, inner_channels, 1)
        self.inner = residual_blocks(inner_channels, inner)
        self.up = zero_init(nn.Conv2d(inner_channels, channels, 1))
        self.after = residual_blocks(channels, after)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        y = self.up(self.inner(self.down(mean2x2(x))))
        return self.after(x + F.interpolate(y, scale_factor=2.0, mode="nearest"))


def residual_blocks(channels: int, count: int) -> nn.Sequential:
    """A row of `count` residual blocks."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


def zero_init(convolution: nn.Conv2d) -> nn.Conv2d:
    """The convolution with all weights 0: what it is added to does not change at first."""
    nn.init.zeros_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution


@torch.no_grad()
def channel_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale of the features x (N, C, H, W) of samples, per channel, (1, C, 1, 1) both."""
    scale = x.std((0, 2, 3), keepdim=True)
    return x.mean((0, 2, 3), keepdim=True), scale.clamp_min(MIN_SCALE * scale.mean())
