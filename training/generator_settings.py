"""Settings of the recipe `generator`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from facsimile.metrics.frechet import FRECHETS

from . import growth
from .settings import Run


@dataclass(frozen=True, kw_only=True)
class GeneratorRun(Run):
    """Train a StyleGAN2 generator and its discriminator.

    Writes OUT/generator.safetensors (the moving average), discriminator.safetensors, sample sheets,
    curves and checkpoints. New: train.py generator --data faces.zip --resolution 64 --images
    1000000 --out runs/a. Grown from the bundled one: --from faces --resolution 128
    """

    data: tuple[str, ...]
    """Image folders or zips, used together."""
    resolution: int
    """Side of the images in pixels, a power of two."""
    start: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Trained networks to go on from, of this side or half of it: a bundled name, a generator's
    file, or a folder with generator.safetensors. A run that has a checkpoint goes on from that."""
    grow_images: int = 20_000
    """Images over which a new block is faded in, when --from has half the side."""
    channel_base: int | None = None
    """Channels of the block of side s: base / s, at most the maximum. Default: those of --from, or
    16384."""
    channel_max: int | None = None
    """Default: that of --from, or 512."""
    latent: int = 512
    """Length of z and w, where --from does not say."""
    mapping_layers: int = 8
    downsampling: Literal["mean", "fir"] = "mean"
    """How the discriminator shrinks, where --from does not say: as StyleGAN2, or faster."""
    group: int = 8
    """Images per minibatch statistic, where --from does not say."""
    lr: float = 0.0025
    """Of the generator."""
    critic_lr: float = 0.0025
    r1: float | None = None
    """Weight gamma of R1. Default: 0.0008 R^2 / batch: 0.1 at 64 px and 32 images."""
    r1_every: int = 16
    """Steps between two R1 penalties."""
    mixing: float = 0.5
    """Probability of two codes in one image; StyleGAN2 has 0.9."""
    path: float = 2.0
    """Weight of the path-length term; 0: not computed."""
    path_every: int = 8
    """Steps between two path-length terms."""
    average: float = 10_000
    """Half-life of the moving average of the weights, in images."""
    average_ramp: float | None = None
    """The half-life is at most this share of the images seen; 0: no ramp. Default: 0.05, and none
    with --from of the same side: the average need not forget a trained beginning (measured after
    26,000 such images: 9 % less Fréchet distance)."""
    flip: bool = True
    """Mirror half of the training images."""
    augment: float = 0.6
    """Target of the discriminator's mean sign on training images, which drives the probability of
    augmentation; 0: none."""
    augment_images: int = 500_000
    """Images within which that probability can rise from 0 to 1."""
    vision: Path | None = None
    """File of SqueezeNet 1.1's ImageNet weights, for a second critic on its frozen features: fewer
    images are needed, at four fifths of the speed. A distance on the same features flatters it."""
    vision_weight: float = 1.0
    """Of that critic's losses."""
    samples: int = 32
    """Images of a sample sheet, at truncation 0.7."""
    frechet: Literal[FRECHETS] = "auto"
    """Features of the distance to the training set. auto: SqueezeNet with --frechet-weights, else
    InceptionV3 of torch-fidelity, else a frozen discriminator. Only the second is called FID."""
    frechet_weights: Path | None = None
    """Local file of SqueezeNet 1.1's ImageNet weights."""
    frechet_images: int = 5_000
    """Images of either set; the whole training set counts only as far."""

    FREE = (*Run.FREE, "samples", "frechet", "frechet_weights", "frechet_images")

    def __post_init__(self) -> None:
        super().__post_init__()
        growth.check_side(self.resolution)
        for name in ("group", "r1_every", "path_every", "samples", "latent", "mapping_layers"):
            self._at_least(name, 1)
        for name in ("channel_base", "channel_max"):
            if getattr(self, name) is not None:
                self._at_least(name, 1)
        self._at_least("grow_images", 0)
        self._at_least("frechet_images", 2)
