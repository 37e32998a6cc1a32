"""Settings of the recipe `landmarks`."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from .settings import EmaSettings, TrainingSettings, at_least


@dataclass(frozen=True, kw_only=True)
class LandmarkDataSettings:
    """Photos with known landmarks."""

    data: tuple[str, ...]
    """Folders or zips of aligned photos, used together."""
    landmark_file: Path
    """.npz with `names`, the photos' file names, and `landmarks` (M, 68, 2), x and y in pixels."""


@dataclass(frozen=True, kw_only=True)
class DetectorSettings:
    """Sizes of the network, or one to continue."""

    init_from: Path | None = None
    """A network's file, or a run's folder, to continue; the next three settings are then its own.
    A run that has a checkpoint resumes that."""
    side: int = 64
    """Resolution of the network's input in pixels."""
    width: int = 24
    """Channels of its first stage."""
    depth: int = 3
    """Residual blocks of its last stage."""

    def __post_init__(self) -> None:
        at_least(self, 1, "side", "width", "depth")


@dataclass(frozen=True, kw_only=True)
class CosineSettings:
    """Learning rate that falls along half a cosine."""

    lr: float = 2e-3
    """Learning rate at the beginning."""
    lr_decay_images: int = 400_000
    """Images over which the learning rate falls to a hundredth."""

    def __post_init__(self) -> None:
        at_least(self, 0, "lr")
        at_least(self, 1, "lr_decay_images")


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """Images without a face, and the term that recognises them."""

    negative_fraction: float = 0.15
    """Share of images that show no face."""
    presence_weight: float = 0.5
    """Weight of the term that distinguishes faces from other images."""

    def __post_init__(self) -> None:
        if not 0 <= self.negative_fraction < 1:
            raise ValueError(
                f"--negative-fraction is {self.negative_fraction}; it must be at least 0 and below "
                "1"
            )


@dataclass(frozen=True, kw_only=True)
class SheetSettings:
    """Sample sheets."""

    num_samples: int = 32
    """Held-out faces of a sheet: half of them unchanged, half degraded."""

    MAY_CHANGE: ClassVar[tuple[str, ...]] = ("num_samples",)

    def __post_init__(self) -> None:
        at_least(self, 1, "num_samples")


@dataclass(frozen=True, kw_only=True)
class LandmarkDetectorSettings(TrainingSettings):
    """Train the small network that predicts the 68 landmarks of a face.

    Writes OUT/landmarks.safetensors (the moving average), sample sheets, curves and checkpoints:
    train landmarks --data faces.zip --landmark-file landmarks.npz --out runs/landmarks
    """

    images: int = 400_000
    """Number of images to train on, in all; may be raised later."""
    precision: Literal["fp32", "fp64"] = "fp32"
    """The network is too small for lower precision to be faster."""
    dataset: LandmarkDataSettings
    network: DetectorSettings = DetectorSettings()
    optimizer: CosineSettings = CosineSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    ema: EmaSettings = EmaSettings(ema_images=4_000)
    evaluation: SheetSettings = SheetSettings()
