"""The base encoder's iterations: from a photo and the image of a feature to a better feature.

Legend: N images, C channels, HxW pixels of the feature, S resolution at which images are compared.
"ReStyle: A Residual-Based StyleGAN Encoder via Iterative Refinement", section 3, which corrects
codes. Here the feature is corrected, and the network also compares the images' features in the
generator's discriminator, if there is one.
"""

from operator import attrgetter
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.metrics.perceptual import normalize_features
from facsimile.stylegan import Discriminator, freeze
from facsimile.stylegan.discriminator import DiscriminatorConfig
from facsimile.stylegan.layers import SLOPE
from facsimile.stylegan.pooling import mean2x2

from ..layers import prepare_images

FEATURE_NORM = 2.5
"""Length of the discriminator's features at every pixel, over all channels."""


class ImageFeatures(NamedTuple):
    """An image as the corrector takes it."""

    image: Tensor
    """(N, img_channels, S, S)"""
    features: dict[int, Tensor]
    """Features (N, .., side, side) of the feature network by their side; empty without one."""


class FeatureCorrector(nn.Module):
    """(photo, current image, feature (N, C, H, W)) -> change of the feature."""

    feature_net = property(attrgetter("eyes"), doc="The frozen discriminator, or None.")

    def __init__(
        self,
        img_channels: int,
        channels: int,
        side: int,
        margin: int,
        halvings: int,
        width: int,
        feature_net: dict[str, Any] | None,
    ):
        """As in `BaseConfig`; feature_net: configuration of the discriminator, None: without."""
        super().__init__()
        self.img_channels, self.margin = img_channels, margin
        self.resolution, self.unshuffle = side << halvings, 1 + bool(halvings)
        network, net_channels = None, {}
        if feature_net is not None:
            network = freeze(Discriminator(DiscriminatorConfig(**feature_net)))
            net_channels = {4 << i: n for i, n in enumerate(feature_net["channels"][:-1])}
        self.add_module("eyes", network)  # its name in files
        self.sides = [self.resolution // self.unshuffle]
        while self.sides[-1] > side:
            self.sides.append(self.sides[-1] // 2)
        self.blocks = nn.ModuleList()
        inputs = 2 * img_channels * self.unshuffle**2
        for index, block_side in enumerate(self.sides):
            inputs += 2 * net_channels.get(block_side, 0) + channels * (block_side == side)
            outputs = min(2 * width << index, 4 * width)
            convs = [nn.Conv2d(i, outputs, 3, padding=1) for i in (inputs, outputs)]
            self.blocks.append(nn.ModuleList(convs))
            inputs = outputs
        self.head = nn.Conv2d(inputs, channels, 3, padding=1)
        for conv in (conv for block in self.blocks for conv in block):
            nn.init.kaiming_normal_(conv.weight, SLOPE)
            nn.init.zeros_(conv.bias)
        # The first changes are close to 0.
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(self.head.bias)

    @torch.no_grad()
    def extract(self, images: Tensor) -> ImageFeatures:
        """Images (N, img_channels, R, R) in [-1, 1], of any R; no gradient goes through it."""
        features = {}
        if self.feature_net is not None:
            resolution = self.feature_net.img_resolution
            for x in self.feature_net.features(
                prepare_images(images, self.img_channels, resolution)
            ):
                if x.shape[2] in self.sides:
                    features[x.shape[2]] = normalize_features(x, FEATURE_NORM, eps=1e-6)
        return ImageFeatures(prepare_images(images, self.img_channels, self.resolution), features)

    def forward(self, photo: ImageFeatures, current: ImageFeatures, feature: Tensor) -> Tensor:
        """feature: (N, C, H, W), of mean 0 and scale 1 -> its change, in the same units."""
        x = F.pixel_unshuffle(torch.cat([photo.image, current.image], 1), self.unshuffle)
        for side, (merge, residual) in zip(self.sides, self.blocks, strict=True):
            if x.shape[2] > side:
                x = mean2x2(x)
            if side in photo.features:
                target, present = photo.features[side], current.features[side]
                x = torch.cat([x, target - present, present], 1)
            if side == self.sides[-1]:
                x = F.pad(x, [self.margin] * 4, mode="replicate") if self.margin else x
                x = torch.cat([x, feature], 1)
            x = F.leaky_relu(merge(x), SLOPE)
            x = x + F.leaky_relu(residual(x), SLOPE)
        return self.head(x)
