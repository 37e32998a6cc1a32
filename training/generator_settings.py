"""Settings of the recipe `generator`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from facsimile.metrics.frechet import FRECHET_FEATURES

from .settings import (
    EmaSettings,
    ImageSettings,
    OptimizerSettings,
    R1Settings,
    TrainingSettings,
    at_least,
)

MIN_SAMPLES, MAX_SAMPLES = 64, 5_000
"""Of the Fréchet distance by default."""


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Sizes of the networks, and those that they continue or grow from."""

    resolution: int
    """Side of the images in pixels, a power of two."""
    init_from: str | None = None
    """Trained networks to continue, of this resolution or half of it: a bundled name, a generator's
    file, or a folder with generator.safetensors. A run that has a checkpoint resumes that."""
    grow_images: int = 20_000
    """Images over which a new block is faded in, if --init-from has half the resolution."""
    channel_base: int | None = None
    """Channels of the block of resolution r: base / r, at most the maximum. Default: those of
    --init-from, or 16384."""
    channel_max: int | None = None
    """Default: that of --init-from, or 512."""
    z_dim: int = 512
    """Length of z and w of new networks."""
    mapping_layers: int = 8
    """Layers of the mapping network of new networks."""
    downsampling: Literal["mean", "fir"] = "mean"
    """How a new discriminator shrinks: with the filter of StyleGAN2 (fir), or faster."""
    mbstd_group: int = 8
    """Images per minibatch standard deviation of a new discriminator."""

    def __post_init__(self) -> None:
        check_resolution(self.resolution)
        at_least(self, 1, "channel_base", "channel_max", "z_dim", "mapping_layers", "mbstd_group")
        at_least(self, 0, "grow_images")


@dataclass(frozen=True, kw_only=True)
class PathLengthSettings:
    """Path length regularization, computed lazily."""

    pl_weight: float = 2.0
    """Weight of the path length penalty; 0: not computed."""
    pl_interval: int = 8
    """Steps between two path length penalties."""
    pl_share: float = 0.5
    """Share of the images whose path lengths are taken. StyleGAN2 takes half: their second
    derivatives cost far more than drawing these images once more."""

    def __post_init__(self) -> None:
        at_least(self, 0, "pl_weight")
        if not 0 < self.pl_share <= 1:
            raise ValueError(f"--pl-share is {self.pl_share}; it must be above 0 and at most 1")
        at_least(self, 1, "pl_interval")


@dataclass(frozen=True, kw_only=True)
class AdaSettings:
    """Adaptive discriminator augmentation."""

    ada_target: float = 0.6
    """Target of the discriminator's mean sign on training images, which controls the probability of
    augmentation; 0: no augmentation."""
    ada_images: int = 500_000
    """Images within which that probability can rise from 0 to 1."""

    def __post_init__(self) -> None:
        at_least(self, 1, "ada_images")


@dataclass(frozen=True, kw_only=True)
class VisionAidedSettings:
    """A second critic on frozen features."""

    vision_aided: Path | None = None
    """File of SqueezeNet 1.1's ImageNet weights, for a second critic on its frozen features: fewer
    images are needed, at four fifths of the speed. A distance on the same features flatters it."""
    vision_aided_weight: float = 1.0
    """Weight of that critic's losses."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """Sample sheets and the Fréchet distance."""

    num_samples: int = 32
    """Images of a sample sheet, at truncation 0.7."""
    frechet: Literal[FRECHET_FEATURES] = "auto"
    """Features of the distance to the training set. auto: SqueezeNet with --frechet-weights, else
    InceptionV3 of torch-fidelity, else a frozen discriminator. Only the second is called FID."""
    frechet_weights: Path | None = None
    """Local file of SqueezeNet 1.1's ImageNet weights."""
    frechet_samples: int | None = None
    """Generated images, and training images at most, that are compared; only distances of as many
    images compare. Default: 5,000, and of a run with fewer --images that many, but at least 64."""

    MAY_CHANGE: ClassVar[tuple[str, ...]] = (
        *("num_samples", "frechet", "frechet_weights", "frechet_samples"),
    )

    def __post_init__(self) -> None:
        at_least(self, 1, "num_samples")
        at_least(self, 2, "frechet_samples")


@dataclass(frozen=True, kw_only=True)
class GeneratorSettings(TrainingSettings):
    """Train a StyleGAN2 generator and its discriminator.

    Writes OUT/generator.safetensors (the moving average), discriminator.safetensors, sample sheets,
    curves and checkpoints. New: train generator --data faces.zip --resolution 64 --images 1000000
    --out runs/a. Grown from the bundled one: --init-from faces --resolution 128
    """

    dataset: ImageSettings
    network: NetworkSettings
    style_mixing_prob: float = 0.5
    """Probability of mixing two codes in one image; StyleGAN2 has 0.9."""
    optimizer: OptimizerSettings = OptimizerSettings(lr=0.0025, critic_lr=0.0025)
    r1: R1Settings = R1Settings()
    """The default of gamma is 0.0008 R^2 / batch: 0.1 at 64 px and 32 images."""
    path_length: PathLengthSettings = PathLengthSettings()
    augmentation: AdaSettings = AdaSettings()
    vision: VisionAidedSettings = VisionAidedSettings()
    ema: EmaSettings = EmaSettings(ema_images=10_000, ema_rampup=None)
    """The default of the ramp is 0.05, and 0 with --init-from of the same resolution: the average
    need not forget trained weights (9 % less Fréchet distance after 26,000 such images)."""
    evaluation: EvaluationSettings = EvaluationSettings()

    SMALL: ClassVar[Mapping[str, Any]] = {
        "batch": 8,
        "channel-base": 4096,
        "channel-max": 128,
    }
    GROUP_FLAG: ClassVar[str | None] = "mbstd_group"

    @property
    def frechet_samples(self) -> int:
        """Images that are compared."""
        given = self.evaluation.frechet_samples
        return max(MIN_SAMPLES, min(self.images, MAX_SAMPLES)) if given is None else given


def check_resolution(resolution: int) -> None:
    """ValueError unless it is a power of two, at least 8."""
    if resolution < 8 or resolution & (resolution - 1):
        nearest = 2 ** max(3, round(math.log2(max(resolution, 1))))
        raise ValueError(
            f"--resolution is {resolution}; it must be a power of two, at least 8: {nearest}"
        )
