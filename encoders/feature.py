"""The base encoder: from a photo to the feature map of one layer of a generator.

Legend: N images, C channels, HxW pixels of the feature, R side of the image.
"GAN Inversion for Out-of-Range Images with Geometric Transformations", section 3.2; "Revisiting
Latent Space of GAN Inversion for Real Image Editing", equation 2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from facsimile.stylegan import Discriminator, Feature, Generator, spaces
from facsimile.stylegan.layers import SLOPE

from .feedback import Feedback, Look
from .layers import GhostBatchNorm, describe, shown

HALVINGS = 3
"""The photo has 2^3 = 8 times the feature's side, where the image itself has so much."""


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    fingerprint: str
    """Of the generator that the encoder belongs to."""
    layer: str
    """Whose output the feature is."""
    img_channels: int
    channels: int
    """Of the feature."""
    side: int
    """Of the feature without any margin."""
    margin: int
    """Pixels of the feature around that; StyleGAN3 has some."""
    halvings: int
    """Of the photo until it has the feature's side."""
    width: int
    """Channels of the first stage of three."""
    rgb_skip: str
    """ "zero" or "keep"."""
    passes: int = 0
    """How often the first guess is corrected by what it draws."""
    eyes: dict[str, Any] | None = None
    """Configuration of the discriminator through which the passes look."""

    @staticmethod
    def of(
        generator: Generator,
        layer: str | None,
        width: int,
        rgb_skip: str,
        passes: int = 0,
        eyes: Discriminator | None = None,
    ) -> "BaseConfig":
        """For a layer of the generator (None: its default); ValueError where it has none such."""
        layer = layer or generator.default_feature_layer()
        generator.first_ws_index(layer)  # raises
        side = next(x.side for x in generator.synthesis.layers if x.name == layer)
        shape = _mean_feature(generator, layer).x.shape
        return FeatureConfig(
            fingerprint=generator.fingerprint,
            layer=layer,
            img_channels=generator.img_channels,
            channels=shape[1],
            side=side,
            margin=(shape[2] - side) // 2,
            halvings=max(0, min(HALVINGS, (generator.resolution // side).bit_length() - 1)),
            width=width,
            rgb_skip=rgb_skip,
            passes=passes,
            eyes=describe(eyes) if passes else None,
        )


@torch.no_grad()
def _mean_feature(generator: Generator, layer: str) -> Feature:
    """What the mean code holds at the layer, for one image."""
    return generator.synthesize(spaces.SPACES["w+"].start(generator, 1, "mean"), stop=layer)


class FeatureEncoder(nn.Module):
    """Images (N, img_channels, R, R) in [-1, 1] -> feature (N, C, H, W)."""

    def __init__(self, config: FeatureConfig, group: int = 1):
        """group: images per batch normalisation in training."""
        super().__init__()
        self.config = config
        blocks: list[nn.Module] = []
        inputs, width = config.img_channels, config.width
        for _ in range(config.halvings):
            for _ in range(3):
                blocks += _block(inputs, width, group)
                inputs = width
            blocks.append(nn.AvgPool2d(2))
            width = min(2 * width, 4 * config.width)
        if config.margin:
            blocks.append(nn.ReplicationPad2d(config.margin))
        blocks += _block(inputs, 4 * config.width, group)
        self.body = nn.Sequential(*blocks)
        self.head = nn.Conv2d(4 * config.width, config.channels, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, SLOPE, mode="fan_out")
        nn.init.zeros_(self.head.bias)
        if config.passes:
            shape = (config.img_channels, config.channels, config.side, config.margin)
            self.feedback = Feedback(*shape, config.halvings, config.width, config.eyes)
        # Features of different layers differ in size by orders of magnitude.
        self.register_buffer("mean", torch.zeros(config.channels))
        self.register_buffer("scale", torch.ones([]))
        self.register_buffer("rgb", None)

    @torch.no_grad()
    def fit(self, generator: Generator, ws: Tensor) -> None:
        """Begin at the size of the features that ws (N, L, w_dim) give; hold the mean's image."""
        x = generator.synthesize(ws, stop=self.config.layer).x
        self.mean.copy_(x.mean((0, 2, 3)))
        self.scale.copy_((x - self.mean[:, None, None]).std())
        if self.config.rgb_skip == "keep":
            self.rgb = _mean_feature(generator, self.config.layer).rgb

    def forward(self, images: Tensor) -> Tensor:
        """Images of any square size; ValueError where they are no such images."""
        config = self.config
        side = config.side << config.halvings
        x = self.head(self.body(shown(images, config.img_channels, side)))
        return torch.addcmul(self.mean[:, None, None], x.to(self.mean.dtype), self.scale)

    def feature(self, images: Tensor) -> Feature:
        """What synthesis starts from: the feature, and with "keep" the mean code's image so far.

        That is what `stylegan.start` holds too: the image of a photo's own code is not known.
        """
        rgb = None if self.rgb is None else self.rgb.expand(len(images), -1, -1, -1)
        return Feature(self.config.layer, self(images), rgb)

    def corrected(self, images: Tensor, x: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """The feature x (N, C, H, W) of images after the passes; draw: such a feature -> images."""
        if not self.config.passes:
            return x
        photo = self.feedback.look(images)
        for _ in range(self.config.passes):
            x = self.corrected_once(photo, x, draw(x))
        return x

    def corrected_once(self, photo: Look, x: Tensor, drawn: Tensor) -> Tensor:
        """The same after one pass; photo: `feedback.look`'s, drawn: what x draws (N, .., R, R)."""
        known = (x - self.mean[:, None, None]) / self.scale
        change = self.feedback(photo, self.feedback.look(drawn.clamp(-1, 1)), known)
        return torch.addcmul(x, change.to(x.dtype), self.scale)


def _block(inputs: int, outputs: int, group: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [conv, GhostBatchNorm(outputs, group), nn.LeakyReLU(SLOPE)]
