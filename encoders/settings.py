"""Settings that all encoder recipes share, as sections to compose."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from facsimile import metrics
from facsimile.training import EmaSettings, ImageSettings, OptimizerSettings, TrainingSettings
from facsimile.training.settings import at_least

REAL_FRACTION = 3 / 5
"""Share of photos by default, where there are any."""
MIN_EVAL_IMAGES, MAX_EVAL_IMAGES = 16, 64
"""Of a score by default."""
LAST_LR = 0.01
"""The last learning rate of `CosineSettings`, as a share of the highest."""


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """The generator, and how it is sampled."""

    generator: str = "faces"
    """A bundled name, a generator's file, or a folder with generator.safetensors."""
    truncation_psi: float = 0.7
    """Truncation of the samples, on the first --truncation-cutoff style inputs."""
    truncation_cutoff: int = 8
    """Number of style inputs that are truncated."""

    def __post_init__(self) -> None:
        at_least(self, 0, "truncation_cutoff")


@dataclass(frozen=True, kw_only=True)
class PerceptualSettings:
    """The perceptual term of the reconstruction."""

    perceptual: Literal[metrics.PERCEPTUAL_METRICS] = "auto"  # type: ignore[valid-type]
    """auto: LPIPS-VGG where its weights are, else the generator's discriminator."""
    perceptual_weights: Path | None = None
    """Local file of the weights of the perceptual network."""
    perceptual_weight: float = 0.8
    """Weight of the perceptual term; 0.8 is for LPIPS, as in the encoders after In-Domain GAN
    Inversion. That paper's 5e-5 is for VGG features of images of 0..255."""

    def __post_init__(self) -> None:
        at_least(self, 0, "perceptual_weight")


@dataclass(frozen=True, kw_only=True)
class IdentitySettings:
    """The term of the person."""

    identity: Literal[metrics.IDENTITY_NETWORKS] = "auto"  # type: ignore[valid-type]
    """The network that recognises people. auto: dlib's, if its package is installed."""
    identity_weight: float = 0.1
    """Weight of |e(G(E(x))) - e(x)|^2, with embeddings e of the reconstruction and the target."""

    def __post_init__(self) -> None:
        at_least(self, 0, "identity_weight")


@dataclass(frozen=True, kw_only=True)
class PhotoSettings(ImageSettings):
    """Training photos."""

    data: tuple[str, ...] = ()
    """Folders or zips of aligned photos to train on. Default: samples of the generator alone."""
    real_fraction: float | None = None
    """Share of photos among the training images; the others are samples. Default: 3/5 with --data,
    else 0."""
    mirror: bool = True
    """Mirror half of the photos."""

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"--real-fraction is {self.real_fraction}; it must be between 0 and 1")
        if self.fraction and not self.data:
            raise ValueError(
                f"--real-fraction is {self.real_fraction}, and there are no photos; "
                "give a folder or a zip of them as --data"
            )

    @property
    def fraction(self) -> float:
        """Share of photos."""
        if self.real_fraction is None:
            return REAL_FRACTION if self.data else 0.0
        return self.real_fraction


@dataclass(frozen=True, kw_only=True)
class CosineSettings(OptimizerSettings):
    """Learning rates that rise, stay, and fall to almost nothing along half a cosine."""

    lr_decay_images: int | None = None
    """Images after which the learning rates have fallen to a hundredth. Default: --images, so that
    a run whose --images are raised later goes on at the rates of the longer run."""
    lr_warmup_images: int = 4_000
    """Images in which the learning rates rise from 0, at most a tenth of --lr-decay-images."""
    lr_hold: float = 0.4
    """Share of --lr-decay-images after which the learning rates fall."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "lr_warmup_images")
        if not 0 <= self.lr_hold < 1:
            raise ValueError(f"--lr-hold is {self.lr_hold}; it must be at least 0 and below 1")

    def progress(self, images_seen: int, images: int) -> float:
        """Share of --lr-decay-images that a run of so many images has seen, at most 1."""
        return min(images_seen / (self.lr_decay_images or images), 1.0)

    def decay_within(self, images_seen: int, images: int) -> float:
        """Factor of the learning rates, in a run of so many images."""
        end = self.lr_decay_images or images
        warmup = min(self.lr_warmup_images, end / 10)
        rise = min(1.0, max(images_seen, 1) / warmup) if warmup else 1.0
        after_hold = (self.progress(images_seen, images) - self.lr_hold) / (1 - self.lr_hold)
        fall = 0.5 * (1 + math.cos(math.pi * max(after_hold, 0.0)))
        return rise * (LAST_LR + (1 - LAST_LR) * fall)


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What sample sheets and scores are made of."""

    eval_data: tuple[str, ...] = ()
    """Folders or zips of aligned photos, for scores and sheets only."""
    num_samples: int = 8
    """Generated images on a sheet, and as many photos, each beside its reconstruction."""
    eval_images: int = 0
    """Held-out samples, and at most as many photos, in a score. 0: 64, and of a run with fewer than
    256 --images a quarter of these, but at least 16."""

    MAY_CHANGE = ("eval_data", "num_samples", "eval_images")

    def __post_init__(self) -> None:
        at_least(self, 1, "num_samples")
        at_least(self, 0, "eval_images")


@dataclass(frozen=True, kw_only=True)
class EncoderSettings(TrainingSettings):
    """Settings of every encoder recipe."""

    images: int = 1_000_000
    """Number of images to train on, in all; may be raised later."""
    sampling: SamplingSettings = SamplingSettings()
    perceptual: PerceptualSettings = PerceptualSettings()
    optimizer: OptimizerSettings = OptimizerSettings(lr=1e-4, lr_decay_images=250_000)
    ema: EmaSettings = EmaSettings(ema_images=2_000)
    evaluation: EvaluationSettings = EvaluationSettings()
    batch: int = 16
    bn_group_size: int = 16
    """Images per batch normalisation."""
    width: int = 64
    """Channels of the first stage; every halving of the side doubles them."""
    init_from: Path | None = None
    """An encoder's file, or a run's folder, to initialise from: for other losses, or after the
    generator was replaced. What fits by name and shape is taken over, and it is printed what does
    not. A run that has a checkpoint resumes from that."""

    SMALL: ClassVar[Mapping[str, Any]] = {"batch": 8, "bn-group-size": 8, "num-samples": 4}
    GROUP_FLAG: ClassVar[str | None] = "bn_group_size"

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "bn_group_size", "width")
        if not self.evaluation.eval_images:
            count = max(MIN_EVAL_IMAGES, min(self.images // 4, MAX_EVAL_IMAGES))
            object.__setattr__(self, "evaluation", replace(self.evaluation, eval_images=count))

    def lr_factor(self, images_seen: int) -> float:
        """Factor of the learning rates after so many images."""
        return self.optimizer.decay(images_seen)


@dataclass(frozen=True, kw_only=True)
class TargetSettings(EncoderSettings):
    """Settings of the recipes that train on photos and on samples of three kinds: see `targets`."""

    photos: PhotoSettings = PhotoSettings()
    sampling: SamplingSettings = SamplingSettings(truncation_psi=1.0)
    perceptual: PerceptualSettings = PerceptualSettings(perceptual_weight=1.0)
    identity: IdentitySettings = IdentitySettings()
    images: int = 300_000
    """Number of images to train on, in all; may be raised later."""
    optimizer: CosineSettings = CosineSettings(lr=5e-4)
    ema: EmaSettings = EmaSettings(ema_images=8_000)
    bn_group_size: int = 1
    """Images that share the minibatch statistics of a critic; the encoder itself has none."""

    SMALL: ClassVar[Mapping[str, Any]] = {"batch": 8, "num-samples": 4}

    def lr_factor(self, images_seen: int) -> float:
        return self.optimizer.decay_within(images_seen, self.images)

    def progress(self, images_seen: int) -> float:
        """Share of the training that is done, by which late terms come in."""
        return self.optimizer.progress(images_seen, self.images)
