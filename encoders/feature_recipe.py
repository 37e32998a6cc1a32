"""The recipe `base`: the base encoder, trained on generated samples alone.

Legend: N images of a place, C channels, HxW pixels of the feature, R side of the image, L style
inputs, D numbers in w.
"Revisiting Latent Space of GAN Inversion for Real Image Editing", equation 2; the network and its
optimiser are those of "GAN Inversion for Out-of-Range Images with Geometric Transformations".
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.stylegan import Feature, spaces
from facsimile.training import BatchSlice

from .feature import FeatureConfig, FeatureEncoder
from .recipe import EncoderRecipe, EncoderRun


@dataclass(frozen=True, kw_only=True)
class FeatureRun(EncoderRun):
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
    passes: int = 0
    """How often the guess is corrected by looking at what it draws, as in ReStyle; 0: BDInvert's
    and the F/Z+ paper's one look at the photo. Such networks want a lower --lr, of 3e-4."""
    mixed: float = 0.0
    """Share of the samples whose feature at the layer is blended from those of two codes, region by
    region: nearer to photos, which are no samples of the generator."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("passes", 0)
        if not 0 <= self.mixed <= 1:
            raise ValueError(f"--mixed is {self.mixed}; it must be between 0 and 1")

    def rate(self, seen: int) -> float:
        return self.lr * 0.1 ** (seen // self.lr_every)


class FeatureRecipe(EncoderRecipe):
    player = "base"
    betas = (0.9, 0.999)
    ADDED = ("passes", "eyes")

    def _network(self) -> nn.Module:
        run, eyes = self.run, self.discriminator
        config = FeatureConfig.of(
            self.generator, run.layer, run.width, run.rgb_skip, run.passes, eyes
        )
        encoder = FeatureEncoder(config, run.group)
        if config.eyes is not None:
            encoder.feedback.eyes.load_state_dict(eyes.state_dict())
        return encoder

    def _redraw(self, encoder: nn.Module, images: Tensor, ws: Tensor) -> Tensor:
        first = encoder.feature(images)

        def draw(x: Tensor) -> Tensor:
            return self.generator.synthesize(ws, start=first._replace(x=x))

        return draw(encoder.corrected(images, first.x, draw))

    def losses(self, player: str, place: BatchSlice) -> dict[str, Tensor]:
        """mean((G(E(x), w) - x)^2) + lambda |phi(G(E(x), w)) - phi(x)|^2 (equation 2)."""
        self._begin(place)
        with torch.no_grad():
            ws, _ = self._codes(place)
            target = self._mixed(ws, place) if self.run.mixed else self._photo(ws)
        with self.run.autocast(self.device):
            first = self.encoder.feature(target)
            image = self.generator.synthesize(ws, start=first).to(self.run.dtype)
        losses = self._apart(image, target)
        if self.run.passes:
            losses |= self._after_passes(target, first, ws, place)
        return losses

    def _mixed(self, ws: Tensor, place: BatchSlice) -> Tensor:
        """Images of ws; of a share of them, another code's feature in parts of the picture."""
        layer = self.encoder.config.layer
        others, _ = self._codes(place, 1)
        chance = self.draws.numbers("mixed", place, torch.rand, 1, 1, 1).to(ws)
        # A few blobs a picture, with soft edges.
        blobs = self.draws.numbers("blobs", place, torch.randn, 1, 4, 4).to(ws)
        with self.run.autocast(self.device):
            own = self.generator.synthesize(ws, stop=layer)
            other = self.generator.synthesize(others, stop=layer).x
            blobs = F.interpolate(blobs, other.shape[2:], mode="bicubic", align_corners=False)
            share = torch.sigmoid(4 * blobs) * (chance < self.run.mixed)
            start = own._replace(x=own.x.lerp(other, share.to(other.dtype)))
            return self.generator.synthesize(ws, start=start).to(self.run.dtype).clamp(-1, 1)

    def _after_passes(
        self, target: Tensor, first: Feature, ws: Tensor, place: BatchSlice
    ) -> dict[str, Tensor]:
        """The same losses after every pass, their mean; the gradient goes through one at a time.

        A third is drawn with the samples' own codes, a third with the mean's, a third with others:
        those of a photo are not known.
        """
        with torch.no_grad():
            others, _ = self._codes(place, 2)
            mean = spaces.SPACES["w+"].start(self.generator, 1, "mean").expand_as(ws)
            third = (3 * self.draws.numbers("drawn with", place, torch.rand, 1, 1)).long()
            third = third.to(self.device)
            ws = torch.where(third == 0, ws, torch.where(third == 1, mean, others))

        def draw(x: Tensor) -> Tensor:
            image = self.generator.synthesize(ws, start=first._replace(x=x))
            return image.to(self.run.dtype)

        wanted = self._phi(target)
        with self.run.autocast(self.device):
            photo, x = self.encoder.feedback.look(target), first.x.detach()
            with torch.no_grad():
                drawn = draw(x)
        whole: dict[str, Tensor] = {}
        for _ in range(self.run.passes):
            with self.run.autocast(self.device):
                x = self.encoder.corrected_once(photo, x.detach(), drawn.detach())
                drawn = draw(x)
            for name, value in self._apart(drawn, target, "again ", wanted).items():
                whole[name] = whole.get(name, 0) + value / self.run.passes
        return whole
