"""The recipe `base`: the base encoder, trained on generated samples alone.

Legend: N images of a place, C channels, R side of the image, L style inputs, D numbers in w.
"Revisiting Latent Space of GAN Inversion for Real Image Editing", equation 2; the network and its
optimiser are those of "GAN Inversion for Out-of-Range Images with Geometric Transformations".
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from training import Place

from .base import BaseConfig, BaseEncoder
from .recipe import EncoderRecipe, EncoderRun


@dataclass(frozen=True, kw_only=True)
class BaseRun(EncoderRun):
    """Train the base encoder of a generator: from a photo to the feature map of one layer.

    Writes OUT/encoder.safetensors (the moving average), sample sheets (photo, redrawn, ..), curves
    and checkpoints: train.py base --generator faces --out runs/base
    """

    layer: str | None = None
    """Whose output the feature is, e.g. b16.conv0. Default: 16x16 as BDInvert's, but at most an
    eighth of the image's side."""
    images: int = 160_000
    """Train until so many images were seen in all; may be raised later."""
    width: int = 128
    """Channels of the encoder's first stage; the others have twice and four times as many."""
    rgb_skip: Literal["zero", "keep"] = "zero"
    """The image that the layers before the feature have drawn: none, as BDInvert, or the mean
    code's."""
    perceptual_weight: float = 10.0
    """lambda_enc, in front of the perceptual term."""
    lr: float = 1e-3
    lr_every: int = 32_000
    """Images after which the learning rate falls to a tenth."""

    def rate(self, seen: int) -> float:
        return self.lr * 0.1 ** (seen // self.lr_every)


class BaseRecipe(EncoderRecipe):
    player = "base"
    betas = (0.9, 0.999)

    def _network(self) -> nn.Module:
        run = self.run
        config = BaseConfig.of(self.generator, run.layer, run.width, run.rgb_skip)
        return BaseEncoder(config, run.group)

    def _redraw(self, encoder: nn.Module, images: Tensor, ws: Tensor) -> Tensor:
        return self.generator.synthesize(ws, start=encoder.feature(images))

    def losses(self, player: str, place: Place) -> dict[str, Tensor]:
        """mean((G(E(x), w) - x)^2) + lambda |phi(G(E(x), w)) - phi(x)|^2 (equation 2)."""
        self._begin(place)
        with torch.no_grad():
            ws, _ = self._codes(place)
            target = self._photo(ws)
        with self.run.autocast(self.device):
            image = self._redraw(self.encoder, target, ws).to(self.run.dtype)
        return self._apart(image, target)
