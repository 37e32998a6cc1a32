"""The in-domain encoder: from a photo to a code of W+, one w for every style input.

Legend: N images, L style inputs (num_ws), D numbers in w, R side of the image, G images of a group.
"In-Domain GAN Inversion for Real Image Editing", section 3.1, the network as in its authors' code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.stylegan import Discriminator, Generator, spaces
from facsimile.stylegan.layers import SLOPE

from .descent import Descent
from .layers import SMALLEST, GhostBatchNorm, check_resolution, describe, shown, widths

FITTED = 8
"""Samples that say how steep the losses are: the gradient takes memory."""


@dataclass(frozen=True, kw_only=True)
class InDomainConfig:
    fingerprint: str
    """Of the generator that the encoder belongs to."""
    img_channels: int
    resolution: int
    """Side of the images that the network is shown, a power of two; others are resized to it."""
    num_ws: int
    w_dim: int
    width: int
    """Channels of the first stage; every halving doubles them."""
    max_width: int
    """Most channels of a stage."""
    passes: int = 0
    """How often the first guess is corrected by the gradient at what it draws."""
    hidden: int = 256
    """Numbers for each style input between gradient and correction."""
    eyes: dict[str, Any] | None = None
    """Configuration of the discriminator of the passes' perceptual term."""

    def __post_init__(self) -> None:
        check_resolution(self.resolution)

    @staticmethod
    def of(
        generator: Generator,
        width: int,
        max_width: int,
        resolution: int | None = None,
        passes: int = 0,
        eyes: Discriminator | None = None,
    ) -> "InDomainConfig":
        """For a generator; resolution None: its own, or the power of two below it."""
        return InDomainConfig(
            fingerprint=generator.fingerprint,
            img_channels=generator.img_channels,
            resolution=resolution or 1 << (generator.resolution.bit_length() - 1),
            num_ws=generator.num_ws,
            w_dim=generator.w_dim,
            width=width,
            max_width=max_width,
            passes=passes,
            eyes=describe(eyes) if passes else None,
        )


class Block(nn.Module):
    """Halves the side, then a residual block."""

    def __init__(self, inputs: int, outputs: int, group: int):
        super().__init__()
        hidden = min(inputs, outputs)
        self.main = nn.Sequential(
            *_stage(inputs, hidden, 3, group), *_stage(hidden, outputs, 3, group)
        )
        self.skip = nn.Sequential()
        if inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.skip = nn.Sequential(conv, GhostBatchNorm(outputs, group))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H/2, W/2)."""
        x = F.avg_pool2d(x, 2)
        return self.main(x) + self.skip(x)


class InDomainEncoder(nn.Module):
    """Images (N, img_channels, R, R) in [-1, 1] -> codes (N, L, D) in W+.

    The last normalisation is the paper's; what it gives counts from the mean w, in standard
    deviations of w, so that a generator's scale of w does not matter. The dense layer before it
    has no bias, which would cancel.
    """

    def __init__(self, config: InDomainConfig, group: int = 2):
        """group: images per batch normalisation in training."""
        super().__init__()
        self.config = config
        channels = widths(config.resolution, config.width, config.max_width)
        self.first = nn.Sequential(*_stage(config.img_channels, channels[0], 5, group))
        pairs = zip(channels, channels[1:], strict=False)
        self.blocks = nn.Sequential(*(Block(a, b, group) for a, b in pairs))
        codes = config.num_ws * config.w_dim
        self.dense = nn.Linear(channels[-1] * SMALLEST**2, codes, bias=False)
        self.norm = GhostBatchNorm(codes, group)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if config.passes:
            sizes = (config.num_ws, config.w_dim, config.passes, config.hidden)
            self.descent = Descent(*sizes, config.img_channels, config.resolution, config.eyes)
        self.register_buffer("mean", torch.zeros(config.num_ws, config.w_dim))
        self.register_buffer("scale", torch.ones(config.num_ws, config.w_dim))

    @torch.no_grad()
    def fit(self, generator: Generator, ws: Tensor) -> None:
        """Begin at the generator's mean code, and with the spread of ws (N, L, D)."""
        self.mean.copy_(spaces.SPACES["w+"].start(generator, 1, "mean")[0])
        self.scale.copy_(ws.std(0))
        if self.config.passes:
            ws = ws[:FITTED]
            images = generator.synthesize(ws).clamp(-1, 1)
            self.descent.fit(images, torch.zeros_like(ws), self._drawing(generator.synthesize))

    def forward(self, images: Tensor) -> Tensor:
        """Images of any square size; ValueError where they are no such images."""
        config = self.config
        x = self.blocks(self.first(shown(images, config.img_channels, config.resolution)))
        # From here in full precision: three digits are too few for a code.
        x = self.norm(self.dense(x.flatten(1)).to(self.mean.dtype))
        return torch.addcmul(self.mean, x.unflatten(1, self.mean.shape), self.scale)

    def find(self, images: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """Codes (N, L, D) of images after the passes; draw: such codes -> images.

        No gradient goes through the passes.
        """
        code = self(images)
        if not self.config.passes:
            return code
        with torch.no_grad():
            return self.descend(images, code, draw)[0]

    def descend(
        self, images: Tensor, code: Tensor, draw: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """The code after the passes, and the losses (N,) after each: see `Descent.run`."""
        x = (code.detach() - self.mean) / self.scale
        x, losses = self.descent.run(images, x, self._drawing(draw))
        return torch.addcmul(self.mean, x, self.scale), losses

    def _drawing(self, draw: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """For codes in standard deviations of w, from the mean."""
        return lambda x: draw(torch.addcmul(self.mean, x, self.scale))


def _stage(inputs: int, outputs: int, kernel: int, group: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    return [conv, nn.LeakyReLU(SLOPE), GhostBatchNorm(outputs, group)]
