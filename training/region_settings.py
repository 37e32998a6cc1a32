"""Settings of the recipe `regions`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .landmark_settings import CosineSettings, ObjectiveSettings, SheetSettings
from .settings import EmaSettings, TrainingSettings, at_least


@dataclass(frozen=True, kw_only=True)
class RegionDataSettings:
    """Photos whose faces and persons another program has found."""

    data: tuple[str, ...]
    """Folders or zips of aligned photos, used together."""
    mesh: tuple[Path, ...]
    """.npz files with `names`, the photos' file names, and `landmarks` (M, 478, 2), x and y in
    pixels: MediaPipe's face mesh."""
    person: tuple[Path, ...]
    """Zips of masks of the person, PNG, under the photos' names."""
    held_out: str = "04[89].."
    """Regular expression: photos whose name without its ending it describes are held out for the
    scores, and never trained on."""

    def __post_init__(self) -> None:
        try:
            re.compile(self.held_out)
        except re.error as error:
            raise ValueError(f"--held-out is no regular expression ({error})") from error


@dataclass(frozen=True, kw_only=True)
class RegionSizes:
    """Sizes of the network, or one to continue."""

    init_from: Path | None = None
    """A network's file, or a run's folder, to continue; the next three settings are then its own.
    A run that has a checkpoint resumes that."""
    side: int = 128
    """Resolution of the network's input in pixels."""
    width: int = 16
    """Channels of its finest stage."""
    depth: int = 2
    """Residual blocks of its coarsest stage."""

    def __post_init__(self) -> None:
        at_least(self, 1, "side", "width", "depth")


@dataclass(frozen=True, kw_only=True)
class RegionObjectiveSettings(ObjectiveSettings):
    """Images without a face, and the weights of the terms."""

    negative_fraction: float = 0.08
    """Share of images that show no face."""
    part_weight: float = 2.0
    """Weight of the pixels of brows, eyes, nose, lips and teeth; that of others is 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "part_weight")


@dataclass(frozen=True, kw_only=True)
class RegionSettings(TrainingSettings):
    """Train the small network that finds the parts of a face, its hair, and the background.

    Writes OUT/regions.safetensors (the moving average), sample sheets, curves and checkpoints:
    train regions --data faces.zip --mesh mesh.npz --person person.zip --out runs/regions
    """

    images: int = 60_000
    """Number of images to train on, in all; may be raised later."""
    batch: int = 16
    """Images per step, over all processes and micro-steps."""
    precision: Literal["fp32", "fp64"] = "fp32"
    """The network is too small for lower precision to be faster."""
    dataset: RegionDataSettings
    network: RegionSizes = RegionSizes()
    optimizer: CosineSettings = CosineSettings(lr_decay_images=60_000)
    objective: RegionObjectiveSettings = RegionObjectiveSettings()
    ema: EmaSettings = EmaSettings(ema_images=1_000)
    evaluation: SheetSettings = SheetSettings(num_samples=12)
