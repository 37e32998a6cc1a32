"""Settings of the recipe `base`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from facsimile.training import OptimizerSettings
from facsimile.training.settings import at_least

from ..settings import EncoderSettings, PerceptualSettings


@dataclass(frozen=True, kw_only=True)
class StaircaseSettings(OptimizerSettings):
    """A learning rate that falls in steps."""

    lr_decay_images: int = 32_000
    """Images after which the learning rate falls to a tenth."""

    def decay(self, images_seen: int) -> float:
        """Factor of the learning rate: 0.1^floor(images_seen / lr_decay_images)."""
        return 0.1 ** (images_seen // self.lr_decay_images)


@dataclass(frozen=True, kw_only=True)
class BaseSettings(EncoderSettings):
    """Train the base encoder of a generator: from a photo to the feature map of one layer.

    Writes OUT/encoder.safetensors (the moving average), sample sheets (photo, reconstruction, ..),
    curves and checkpoints: facsimile train base --generator faces --out runs/base
    """

    layer: str | None = None
    """Layer whose output the feature is, e.g. b16.conv0. Default: 16x16 as in BDInvert, but at most
    an eighth of the image's side."""
    images: int = 160_000
    """Number of images to train on, in all; may be raised later."""
    width: int = 128
    """Channels of the encoder's first stage; the others have twice and four times as many."""
    rgb_skip: Literal["zero", "keep"] = "zero"
    """RGB image before the feature's layer: zero, as in BDInvert, or the mean code's."""
    iterations: int = 0
    """Corrections of the feature by comparing its image with the photo, as in ReStyle; 0: one
    forward pass, as in BDInvert and the F/Z+ paper. Use a lower --lr with them, of 3e-4."""
    feature_mix_prob: float = 0.0
    """Share of the samples whose feature blends those of two codes, region by region: closer to
    photos, which are not samples of the generator."""
    perceptual: PerceptualSettings = PerceptualSettings(perceptual_weight=10.0)
    optimizer: StaircaseSettings = StaircaseSettings(lr=1e-3)

    SMALL: ClassVar[Mapping[str, Any]] = {**EncoderSettings.SMALL, "width": 64}

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "iterations")
        if not 0 <= self.feature_mix_prob <= 1:
            raise ValueError(
                f"--feature-mix-prob is {self.feature_mix_prob}; it must be between 0 and 1"
            )
