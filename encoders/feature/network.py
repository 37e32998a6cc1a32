"""The feature encoder: from a photo to codes of W+ and the feature of one layer of a generator.

Legend: N images, C channels, HxW pixels of the feature, R image resolution, L style inputs
(num_ws), D numbers in w.
"The Devil is in the Details: StyleFeatureEditor for Detail-Rich StyleGAN Inversion and High Quality
Image Editing", section 3.2: one network predicts codes and a feature, which is fused with the
feature that the codes give. There the feature is predicted from the photo; here the network that
fuses also gets the picture of the codes, so that it is told what the codes lack.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.stylegan import Feature, Generator

from ..blocks import NORM_GROUPS, Hourglass, channel_statistics, zero_init
from ..codes_network import CodesNetwork
from ..layers import prepare_images
from .config import FeatureConfig
from .inverse_mapping import InverseMapping

FEATURE_SAMPLES = 64
"""Samples from which the scale of features is measured; features take memory."""


class FeaturePrediction(NamedTuple):
    """What a feature encoder predicts; synthesize(ws, start=feature) gives the reconstruction."""

    ws: Tensor
    """(N, L, D) in W+"""
    feature: Feature
    """Of the encoder's layer, with the RGB skip of the codes."""
    image: Tensor
    """Of the codes alone, (N, img_channels, R, R)."""
    change: Tensor
    """Of the codes' own feature, in standard deviations of each channel, (N, C, H, W)."""


class FusionNetwork(nn.Module):
    """Photo, picture of the codes, feature of the codes -> change of the feature (N, C, H, W).

    A new network changes nothing.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: FeatureConfig):
        super().__init__()
        self.config = config
        inputs = 2 * config.codes.img_channels * 4**config.halvings
        self.images = nn.Conv2d(inputs, config.width, 3, padding=1)
        self.feature = nn.Conv2d(config.channels, config.width, 1)
        self.body = Hourglass(config.width, config.inner_width, config.counts)
        self.norm = nn.GroupNorm(NORM_GROUPS, config.width)
        self.last = zero_init(nn.Conv2d(config.width, config.channels, 3, padding=1))
        self.register_buffer("mean", torch.zeros(1, config.channels, 1, 1))
        self.register_buffer("scale", torch.ones(1, config.channels, 1, 1))

    @torch.no_grad()
    def init_normalization(self, x: Tensor) -> None:
        """Set mean and scale: those of the features x (N, C, H, W) of samples, per channel."""
        mean, scale = channel_statistics(x)
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    def forward(self, photo: Tensor, image: Tensor, x: Tensor) -> Tensor:
        """photo, image: (N, img_channels, R, R); x: (N, C, H, W). ValueError for other images.

        The change is counted in standard deviations of each channel: see `apply_change`.
        """
        config = self.config
        pair = [
            prepare_images(images, config.codes.img_channels, config.side << config.halvings)
            for images in (photo, image)
        ]
        y = F.pixel_unshuffle(torch.cat(pair, 1), 1 << config.halvings)
        if config.margin:
            y = F.pad(y, [config.margin] * 4, mode="replicate")
        y = self.images(y) + self.feature((x - self.mean) / self.scale)
        return self.last(F.silu(self.norm(self.body(y))))

    def apply_change(self, x: Tensor, change: Tensor) -> Tensor:
        """The feature x (N, C, H, W) after a change."""
        return x + self.scale * change


class FeatureEncoder(nn.Module):
    """Images (N, img_channels, R, R) in [-1, 1] -> codes (N, L, D) and a feature (N, C, H, W)."""

    def __init__(self, config: FeatureConfig):
        super().__init__()
        self.config = config
        self.codes = CodesNetwork(config.codes)
        self.fusion = FusionNetwork(config)
        codes = config.codes
        self.inverse = InverseMapping(
            codes.num_ws, codes.w_dim, config.z_dim, config.c_dim, config.hidden
        )

    @torch.no_grad()
    def init_normalization(self, generator: Generator, ws: Tensor) -> None:
        """Set the means and scales: those of codes ws (N, L, D) of samples and of their features.

        The mean code is the generator's.
        """
        self.codes.init_normalization(generator, ws)
        few = ws[:FEATURE_SAMPLES]
        self.fusion.init_normalization(generator.synthesize(few, stop=self.config.layer).x)

    def forward(self, images: Tensor) -> Tensor:
        """The codes (N, L, D) alone, of images of any square size; ValueError for other images."""
        return self.codes(images)

    def predict(self, images: Tensor, generator: Generator) -> FeaturePrediction:
        """Codes and feature of images of any square size; generator: the encoder's own.

        The fusion network's inputs give the codes no gradient; its result does.
        """
        ws = self.codes(images)
        first = generator.synthesize(ws, stop=self.config.layer)
        image: Any = generator.synthesize(ws, start=first)
        change = self.fusion(images, image.detach(), first.x.detach())
        feature = first._replace(x=self.fusion.apply_change(first.x, change))
        return FeaturePrediction(ws, feature, image, change)

    def to_z(self, ws: Tensor, label: Tensor | None = None) -> Tensor:
        """Codes (N, L, D) of W+ -> codes (N, L, z_dim) of Z+, on the sphere, of a like picture.

        label: (N, c_dim) of a conditional generator; ValueError without one.
        """
        with torch.autocast(ws.device.type, enabled=False):
            return self.inverse(self.codes.normalize(ws.to(self.codes.mean.dtype)), label)
