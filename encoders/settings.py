"""Settings that all encoder recipes share, as sections to compose."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from facsimile import metrics
from facsimile.training import EmaSettings, OptimizerSettings, TrainingSettings
from facsimile.training.settings import at_least


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
class EvaluationSettings:
    """What sample sheets and scores are made of."""

    eval_data: tuple[str, ...] = ()
    """Folders or zips of aligned photos, for scores and sheets only."""
    num_samples: int = 8
    """Generated images on a sheet, and as many photos, each beside its reconstruction."""
    eval_images: int = 64
    """Held-out samples, and at most as many photos, in a score."""

    MAY_CHANGE = ("eval_data", "num_samples", "eval_images")

    def __post_init__(self) -> None:
        at_least(self, 1, "num_samples", "eval_images")


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
    """An encoder's file, or a run's folder, to initialise from, of the same sizes: for other
    losses, or after the generator was replaced. A run that has a checkpoint resumes from that."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "bn_group_size", "width")
