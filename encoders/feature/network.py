"""The feature encoder: from a photo to codes of W+ and the feature of one layer of a generator.

Legend: N images, C channels, HxW pixels of the feature, R image resolution, L style inputs
(num_ws), D numbers in w.
"The Devil is in the Details: StyleFeatureEditor for Detail-Rich StyleGAN Inversion and High Quality
Image Editing", section 3.2: one network predicts codes and a feature, which is fused with the
feature that the codes give. There the feature is predicted from the photo; here the network that
fuses also gets the picture of the codes, so that it is told what the codes lack. It may look again
at the picture of its own feature, and correct it: the feedback of "ReStyle: A Residual-Based
StyleGAN Encoder via Iterative Refinement", with the gradient of the pixel error as a further input,
as in "Iterative Amortized Inference".
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
    corrected: tuple[Tensor, ...] = ()
    """Pictures (N, img_channels, R, R) of the features that were corrected, in order."""


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
        if config.iterations:
            self.gradient = nn.Conv2d(config.channels, config.width, 1)
            self.correction = zero_init(nn.Conv2d(config.width, config.channels, 3, padding=1))
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
        return self._change(self._look(photo, image, x), self.last)

    def correct(self, photo: Tensor, image: Tensor, x: Tensor, gradient: Tensor) -> Tensor:
        """As `forward`, for the picture `image` of the feature x itself.

        gradient: of an image's error with respect to x, (N, C, H, W); its size does not matter.
        """
        gradient = gradient * self.scale
        size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
        gradient = gradient / size.clamp_min(torch.finfo(size.dtype).tiny)
        return self._change(self._look(photo, image, x) + self.gradient(gradient), self.correction)

    def _look(self, photo: Tensor, image: Tensor, x: Tensor) -> Tensor:
        """(N, width, H, W)"""
        config = self.config
        pair = [
            prepare_images(images, config.codes.img_channels, config.side << config.halvings)
            for images in (photo, image)
        ]
        y = F.pixel_unshuffle(torch.cat(pair, 1), 1 << config.halvings)
        if config.margin:
            y = F.pad(y, [config.margin] * 4, mode="replicate")
        return self.images(y) + self.feature((x - self.mean) / self.scale)

    def _change(self, y: Tensor, last: nn.Module) -> Tensor:
        return last(F.silu(self.norm(self.body(y))))

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

        The fusion network's inputs give the codes no gradient; its result does. Corrections:

            F_k+1 = F_k + correct(x, G(w, F_k), F_k, d|x - G(w, F_k)|^2 / dF_k)
        """
        ws = self.codes(images)
        first = generator.synthesize(ws, stop=self.config.layer)
        image: Any = generator.synthesize(ws, start=first)
        change = self.fusion(images, image.detach(), first.x.detach())
        feature = first._replace(x=self.fusion.apply_change(first.x, change))
        corrected = []
        for _ in range(self.config.iterations):
            feature, picture = self._corrected(images, generator, ws, feature)
            corrected.append(picture)
        return FeaturePrediction(ws, feature, image, change, tuple(corrected))

    def _corrected(
        self, images: Tensor, generator: Generator, ws: Tensor, feature: Feature
    ) -> tuple[Feature, Tensor]:
        """(the corrected feature, the picture of the given one)"""
        learns = torch.is_grad_enabled()
        x = feature.x
        with torch.enable_grad():
            if not x.requires_grad:
                x = x.detach().requires_grad_()
            image: Any = generator.synthesize(ws, start=feature._replace(x=x))
            target = prepare_images(images, generator.img_channels, generator.resolution)
            # A sum over images, so that they do not influence one another.
            error = (image - target).square().mean((1, 2, 3)).sum()
            (gradient,) = torch.autograd.grad(error, x, retain_graph=learns)
        if not learns:
            image = image.detach()
        change = self.fusion.correct(images, image.detach(), x.detach(), gradient)
        return feature._replace(x=self.fusion.apply_change(feature.x, change)), image

    def to_z(self, ws: Tensor, label: Tensor | None = None) -> Tensor:
        """Codes (N, L, D) of W+ -> codes (N, L, z_dim) of Z+, on the sphere, of a like picture.

        label: (N, c_dim) of a conditional generator; ValueError without one.
        """
        with torch.autocast(ws.device.type, enabled=False):
            return self.inverse(self.codes.normalize(ws.to(self.codes.mean.dtype)), label)
