"""The in-domain encoder: from a photo to a code of W+, one w for every style input.

Legend: N images, L style inputs (num_ws), D numbers in w, R image resolution.
"In-Domain GAN Inversion for Real Image Editing", section 3.1, with the network of the authors'
code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.stylegan import Discriminator, Generator, spaces
from facsimile.stylegan.layers import SLOPE

from ..layers import (
    MIN_SIDE,
    GhostBatchNorm,
    channel_schedule,
    check_resolution,
    default_resolution,
    feature_net_config,
    prepare_images,
)
from .learned_optimizer import LearnedOptimizer

GRADIENT_SAMPLES = 8
"""Samples from which the usual size of the gradient is measured; the gradient takes memory."""


@dataclass(frozen=True, kw_only=True)
class InDomainConfig:
    """The generator and the sizes of an in-domain encoder."""

    fingerprint: str
    """Of the generator that the encoder belongs to."""
    img_channels: int
    resolution: int
    """Resolution of the network's input, a power of two; images are resized to it."""
    num_ws: int
    w_dim: int
    width: int
    """Channels of the first stage; every halving doubles them."""
    max_width: int
    """Most channels of a stage."""
    iterations: int = 0
    """Steps of the learned optimizer."""
    hidden: int = 256
    """Hidden features for each style input of the learned optimizer."""
    feature_net: dict[str, Any] | None = None
    """Configuration of the discriminator of the learned optimizer's perceptual term."""

    def __post_init__(self) -> None:
        check_resolution(self.resolution)

    @staticmethod
    def for_generator(
        generator: Generator,
        width: int,
        max_width: int,
        resolution: int | None = None,
        iterations: int = 0,
        feature_net: Discriminator | None = None,
    ) -> "InDomainConfig":
        """For a generator; resolution None: its own, or the power of two below it."""
        return InDomainConfig(
            fingerprint=generator.fingerprint,
            img_channels=generator.img_channels,
            resolution=resolution or default_resolution(generator),
            num_ws=generator.num_ws,
            w_dim=generator.w_dim,
            width=width,
            max_width=max_width,
            iterations=iterations,
            feature_net=feature_net_config(feature_net) if iterations else None,
        )


class ResidualBlock(nn.Module):
    """Halves the side, then a residual block."""

    def __init__(self, inputs: int, outputs: int, bn_group_size: int):
        super().__init__()
        hidden = min(inputs, outputs)
        self.main = nn.Sequential(
            *_conv_block(inputs, hidden, 3, bn_group_size),
            *_conv_block(hidden, outputs, 3, bn_group_size),
        )
        self.skip = nn.Sequential()
        if inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.skip = nn.Sequential(conv, GhostBatchNorm(outputs, bn_group_size))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H/2, W/2)."""
        x = F.avg_pool2d(x, 2)
        return self.main(x) + self.skip(x)


class InDomainEncoder(nn.Module):
    """Images (N, img_channels, R, R) in [-1, 1] -> codes (N, L, D) in W+.

    The last normalisation is the paper's; its output is scaled by the standard deviation of w and
    added to the mean w, so that a generator's scale of w does not matter. The dense layer before it
    has no bias, which the normalisation would cancel.
    """

    optimizer = property(attrgetter("descent"), doc="The `LearnedOptimizer`, if there is one.")

    def __init__(self, config: InDomainConfig, bn_group_size: int = 2):
        """bn_group_size: images per batch normalisation in training."""
        super().__init__()
        self.config = config
        channels = channel_schedule(config.resolution, config.width, config.max_width)
        self.first = nn.Sequential(*_conv_block(config.img_channels, channels[0], 5, bn_group_size))
        pairs = zip(channels, channels[1:], strict=False)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b, bn_group_size) for a, b in pairs))
        codes = config.num_ws * config.w_dim
        self.dense = nn.Linear(channels[-1] * MIN_SIDE**2, codes, bias=False)
        self.norm = GhostBatchNorm(codes, bn_group_size)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if config.iterations:
            sizes = (config.num_ws, config.w_dim, config.iterations, config.hidden)
            comparison = (config.img_channels, config.resolution, config.feature_net)
            # "descent" is its name in files.
            self.add_module("descent", LearnedOptimizer(*sizes, *comparison))
        self.register_buffer("mean", torch.zeros(config.num_ws, config.w_dim))
        self.register_buffer("scale", torch.ones(config.num_ws, config.w_dim))

    @torch.no_grad()
    def init_normalization(self, generator: Generator, ws: Tensor) -> None:
        """Set mean and scale: the generator's mean code, and the deviation of ws (N, L, D)."""
        self.mean.copy_(spaces.SPACES["w+"].initial_code(generator, 1, "mean")[0])
        self.scale.copy_(ws.std(0))
        if self.config.iterations:
            ws = ws[:GRADIENT_SAMPLES]
            images = torch.clamp(generator.synthesize(ws), -1, 1)
            synthesize = self.from_normalized(generator.synthesize)
            self.optimizer.init_normalization(images, torch.zeros_like(ws), synthesize)

    def forward(self, images: Tensor) -> Tensor:
        """Images of any square size; ValueError for other images."""
        config = self.config
        x = prepare_images(images, config.img_channels, config.resolution)
        x = self.blocks(self.first(x))
        # From here in full precision: three digits are too few for a code.
        x = self.norm(self.dense(x.flatten(1)).to(self.mean.dtype))
        return torch.addcmul(self.mean, x.unflatten(1, self.mean.shape), self.scale)

    def encode(self, images: Tensor, synthesize: Callable[[Tensor], Tensor]) -> Tensor:
        """Codes (N, L, D) of images after all iterations.

        synthesize: codes (N, L, D) -> images. No gradient goes through the iterations.
        """
        code = self(images)
        if not self.config.iterations:
            return code
        with torch.no_grad():
            return self.optimize(images, code, synthesize)[0]

    def optimize(
        self, images: Tensor, code: Tensor, synthesize: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """(codes after the iterations, losses (N,) after each): see `LearnedOptimizer.run`."""
        x = (code.detach() - self.mean) / self.scale
        x, losses = self.optimizer.run(images, x, self.from_normalized(synthesize))
        return torch.addcmul(self.mean, x, self.scale), losses

    def from_normalized(self, synthesize: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """`synthesize` for codes counted from the mean, in standard deviations of w."""
        return lambda x: synthesize(torch.addcmul(self.mean, x, self.scale))


def _conv_block(inputs: int, outputs: int, kernel: int, bn_group_size: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    return [conv, nn.LeakyReLU(SLOPE), GhostBatchNorm(outputs, bn_group_size)]
