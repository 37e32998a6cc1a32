"""Feedback: from a photo and what a feature draws to a better feature.

Legend: N images, C channels, HxW pixels of the feature, S side of the images that are compared.
"ReStyle: A Residual-Based StyleGAN Encoder via Iterative Refinement", section 3, there for codes.
Here it is the feature that changes, and the network sees both images through the generator's own
discriminator too, where there is one.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.metrics.perceptual import unit
from facsimile.stylegan import Discriminator, freeze
from facsimile.stylegan.discriminator import DiscriminatorConfig
from facsimile.stylegan.layers import SLOPE

from .layers import shown

LOUD = 2.5
"""Length of the features at every pixel, over all their channels."""


class Look(NamedTuple):
    """An image as the network sees it."""

    image: Tensor
    """(N, img_channels, S, S)"""
    features: dict[int, Tensor]
    """What the eyes see of it, (N, .., side, side) by its side."""


class Feedback(nn.Module):
    """Looks at a photo and at what a feature draws; feature (N, C, H, W) -> its change."""

    def __init__(
        self,
        img_channels: int,
        channels: int,
        side: int,
        margin: int,
        halvings: int,
        width: int,
        eyes: dict[str, Any] | None,
    ):
        """As `BaseConfig` has it; eyes: the configuration of the discriminator, None: without."""
        super().__init__()
        self.img_channels, self.margin = img_channels, margin
        self.side, self.fold = side << halvings, 1 + bool(halvings)
        self.eyes = None if eyes is None else freeze(Discriminator(DiscriminatorConfig(**eyes)))
        seen = {} if eyes is None else {4 << i: n for i, n in enumerate(eyes["channels"][:-1])}
        self.sides = [self.side // self.fold]
        while self.sides[-1] > side:
            self.sides.append(self.sides[-1] // 2)
        self.blocks = nn.ModuleList()
        inputs = 2 * img_channels * self.fold**2
        for index, at in enumerate(self.sides):
            inputs += 2 * seen.get(at, 0) + channels * (at == side)
            outputs = min(2 * width << index, 4 * width)
            convs = [nn.Conv2d(i, outputs, 3, padding=1) for i in (inputs, outputs)]
            self.blocks.append(nn.ModuleList(convs))
            inputs = outputs
        self.head = nn.Conv2d(inputs, channels, 3, padding=1)
        for conv in (conv for block in self.blocks for conv in block):
            nn.init.kaiming_normal_(conv.weight, SLOPE)
            nn.init.zeros_(conv.bias)
        # It begins by changing next to nothing.
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(self.head.bias)

    @torch.no_grad()
    def look(self, images: Tensor) -> Look:
        """Images (N, img_channels, R, R) in [-1, 1], of any R; no gradient goes through it."""
        features = {}
        if self.eyes is not None:
            whole = shown(images, self.img_channels, self.eyes.img_resolution)
            for x in self.eyes.features(whole):
                if x.shape[2] in self.sides:
                    features[x.shape[2]] = unit(x, LOUD, eps=1e-6)
        return Look(shown(images, self.img_channels, self.side), features)

    def forward(self, photo: Look, drawn: Look, feature: Tensor) -> Tensor:
        """feature: (N, C, H, W), of mean 0 and scale 1 -> its change, in the same units."""
        x = F.pixel_unshuffle(torch.cat([photo.image, drawn.image], 1), self.fold)
        for side, (merge, think) in zip(self.sides, self.blocks, strict=True):
            if x.shape[2] > side:
                x = F.avg_pool2d(x, 2)
            if side in photo.features:
                wanted, found = photo.features[side], drawn.features[side]
                x = torch.cat([x, wanted - found, found], 1)
            if side == self.sides[-1]:
                x = F.pad(x, [self.margin] * 4, mode="replicate") if self.margin else x
                x = torch.cat([x, feature], 1)
            x = F.leaky_relu(merge(x), SLOPE)
            x = x + F.leaky_relu(think(x), SLOPE)
        return self.head(x)
