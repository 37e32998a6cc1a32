"""The base encoder: from a photo to the feature map of one layer of a generator.

Legend: N images, C channels, HxW pixels of the feature, R image resolution.
"GAN Inversion for Out-of-Range Images with Geometric Transformations", section 3.2; "Revisiting
Latent Space of GAN Inversion for Real Image Editing", equation 2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from facsimile.stylegan import Discriminator, Feature, Generator, spaces
from facsimile.stylegan.layers import SLOPE

from ..layers import GhostBatchNorm, feature_net_config, prepare_images
from .corrector import FeatureCorrector, ImageFeatures

HALVINGS = 3
"""The photo has 2^3 = 8 times the side of the feature, if the generator's image is that large."""


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """The generator, the layer and the sizes of a base encoder."""

    fingerprint: str
    """Of the generator that the encoder belongs to."""
    layer: str
    """Layer whose output the feature is."""
    img_channels: int
    channels: int
    """Of the feature."""
    side: int
    """Side of the feature without its margin, in pixels."""
    margin: int
    """Pixels of the feature around that side; StyleGAN3 has some."""
    halvings: int
    """Halvings of the photo down to the side of the feature."""
    width: int
    """Channels of the first of three stages."""
    rgb_skip: str
    """ "zero" or "keep"."""
    iterations: int = 0
    """Number of corrections of the first prediction."""
    feature_net: dict[str, Any] | None = None
    """Configuration of the discriminator whose features the corrector compares."""

    @staticmethod
    def for_generator(
        generator: Generator,
        layer: str | None,
        width: int,
        rgb_skip: str,
        iterations: int = 0,
        feature_net: Discriminator | None = None,
    ) -> "BaseConfig":
        """For a layer of the generator (None: its default); ValueError for an unknown layer."""
        layer = layer or generator.default_feature_layer()
        generator.first_ws_index(layer)  # raises
        side = next(x.resolution for x in generator.synthesis.layers if x.name == layer)
        shape = _mean_feature(generator, layer).x.shape
        return BaseConfig(
            fingerprint=generator.fingerprint,
            layer=layer,
            img_channels=generator.img_channels,
            channels=shape[1],
            side=side,
            margin=(shape[2] - side) // 2,
            halvings=max(0, min(HALVINGS, (generator.resolution // side).bit_length() - 1)),
            width=width,
            rgb_skip=rgb_skip,
            iterations=iterations,
            feature_net=feature_net_config(feature_net) if iterations else None,
        )


@torch.no_grad()
def _mean_feature(generator: Generator, layer: str) -> Feature:
    """Feature of the mean code at the layer, for one image."""
    mean = spaces.SPACES["w+"].initial_code(generator, 1, "mean")
    return generator.synthesize(mean, stop=layer)


class BaseEncoder(nn.Module):
    """Images (N, img_channels, R, R) in [-1, 1] -> feature (N, C, H, W)."""

    corrector = property(attrgetter("feedback"), doc="The `FeatureCorrector`, if there is one.")

    def __init__(self, config: BaseConfig, bn_group_size: int = 1):
        """bn_group_size: images per batch normalisation in training."""
        super().__init__()
        self.config = config
        blocks: list[nn.Module] = []
        inputs, width = config.img_channels, config.width
        for _ in range(config.halvings):
            for _ in range(3):
                blocks += _conv_block(inputs, width, bn_group_size)
                inputs = width
            blocks.append(nn.AvgPool2d(2))
            width = min(2 * width, 4 * config.width)
        if config.margin:
            blocks.append(nn.ReplicationPad2d(config.margin))
        blocks += _conv_block(inputs, 4 * config.width, bn_group_size)
        self.body = nn.Sequential(*blocks)
        self.head = nn.Conv2d(4 * config.width, config.channels, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, SLOPE, mode="fan_out")
        nn.init.zeros_(self.head.bias)
        if config.iterations:
            shape = (config.img_channels, config.channels, config.side, config.margin)
            corrector = FeatureCorrector(*shape, config.halvings, config.width, config.feature_net)
            self.add_module("feedback", corrector)  # its name in files
        # The scales of different layers' features differ by orders of magnitude.
        self.register_buffer("mean", torch.zeros(config.channels))
        self.register_buffer("scale", torch.ones([]))
        self.register_buffer("rgb", None)

    @torch.no_grad()
    def init_normalization(self, generator: Generator, ws: Tensor) -> None:
        """Set mean and scale to those of the features of ws (N, L, w_dim), and the RGB skip."""
        x = generator.synthesize(ws, stop=self.config.layer).x
        self.mean.copy_(x.mean((0, 2, 3)))
        self.scale.copy_((x - self.mean[:, None, None]).std())
        if self.config.rgb_skip == "keep":
            self.rgb = _mean_feature(generator, self.config.layer).rgb

    def forward(self, images: Tensor) -> Tensor:
        """Images of any square size; ValueError for other images."""
        config = self.config
        resolution = config.side << config.halvings
        x = self.head(self.body(prepare_images(images, config.img_channels, resolution)))
        return torch.addcmul(self.mean[:, None, None], x.to(self.mean.dtype), self.scale)

    def feature(self, images: Tensor) -> Feature:
        """The predicted start of synthesis: the feature, and with "keep" the mean code's RGB skip.

        `stylegan.init_latents` has the same skip, as the photo's own code is unknown.
        """
        rgb = None if self.rgb is None else self.rgb.expand(len(images), -1, -1, -1)
        return Feature(self.config.layer, self(images), rgb)

    def refine(self, images: Tensor, x: Tensor, synthesize: Callable[[Tensor], Tensor]) -> Tensor:
        """The feature x (N, C, H, W) of images after all iterations.

        synthesize: feature (N, C, H, W) -> images (N, img_channels, R, R).
        """
        if not self.config.iterations:
            return x
        photo = self.corrector.extract(images)
        for _ in range(self.config.iterations):
            x = self.refine_once(photo, x, synthesize(x))
        return x

    def refine_once(self, photo: ImageFeatures, x: Tensor, image: Tensor) -> Tensor:
        """The feature after one iteration.

        photo: `corrector.extract` of the photo; image: (N, .., R, R) synthesized from x.
        """
        normalized = (x - self.mean[:, None, None]) / self.scale
        current = self.corrector.extract(image.clamp(-1, 1))
        change = self.corrector(photo, current, normalized)
        return torch.addcmul(x, change.to(x.dtype), self.scale)


def _conv_block(inputs: int, outputs: int, bn_group_size: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [conv, GhostBatchNorm(outputs, bn_group_size), nn.LeakyReLU(SLOPE)]
