"""Settings that training recipes share: those of the loop, and sections to compose.

A recipe's settings are one dataclass: `TrainingSettings`, and a field for each section. On the
command line every field is a flag of the same name, whatever its section; so is every key of
OUT/config.json.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Settings of the loop, whatever the recipe."""

    out: Path
    """Folder of the run. To resume it after a stop, run the same command again."""
    images: int
    """Number of images to train on, in all; may be raised later."""
    batch: int = 32
    """Images per step, over all processes and micro-steps."""
    accumulate: int = 1
    """Micro-steps per step: less memory, the same result."""
    seed: int = 0
    """Seed of all random numbers."""
    precision: Literal["fp32", "bf16", "fp64"] = "bf16"
    """bf16 keeps weights in float32. fp16 is not offered: two optimizers would share one scaler."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU if there is one."""
    threads: int | None = None
    """CPU threads. Default: PyTorch's choice."""
    data_memory: float | None = None
    """GB of decoded training images that each process may hold in memory; a larger set is decoded
    as it is needed, with the same results. Default: half of the available memory, shared."""
    data_workers: int | None = None
    """Processes that decode images, for each training process. Default: the CPU cores, shared."""
    log_every: int = 20
    """Steps between two entries of the curves."""
    save_every: int = 5_000
    """Images between two checkpoints."""
    sample_every: int = 10_000
    """Images between two sample sheets."""
    score_every: int = 25_000
    """Images between two evaluations."""
    dry_run: bool = False
    """Print the configuration and the sizes of the networks, and exit."""
    config: Path | None = None
    """JSON or TOML file of settings, such as OUT/config.json; flags override it."""
    preset: Literal["small", "paper"] = "paper"
    """small: networks as wide as the bundled ones, and batches of 8, for a first try or a machine
    without a GPU. paper: this recipe's defaults. Flags and --config override it."""

    resume_anyway: tuple[str, ...] = ()
    """Settings, such as data or batch, that may differ from those of the run that is resumed. What
    that changes is said; without it such a run is not touched."""
    quiet: bool = False
    """Print errors alone, and no progress bar."""

    SMALL: ClassVar[Mapping[str, Any]] = {}
    """By flag name, what `--preset small` sets; only the command line looks at it."""
    GROUP_FLAG: ClassVar[str | None] = None
    """Name of the setting that is `TrainingRecipe.group_size`, if there is one."""
    MAY_CHANGE: ClassVar[tuple[str, ...]] = (
        *(
            "out",
            "images",
            "accumulate",
            "device",
            "threads",
            "dry_run",
            "config",
            "preset",
            "resume_anyway",
            "quiet",
        ),
        *("data_memory", "data_workers"),
        *("log_every", "save_every", "sample_every", "score_every"),
    )
    """Settings that may differ when a run is resumed: they do not change the weights of a step."""

    def __post_init__(self) -> None:
        intervals = ("log_every", "save_every", "sample_every", "score_every")
        at_least(self, 1, "images", "batch", "accumulate", *intervals)
        at_least(self, 0, "data_memory", "data_workers")

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    def autocast(self, device: torch.device) -> torch.autocast:
        """Context for the parts of a recipe that run in lower precision."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def torch_device(self) -> torch.device:
        """The device of `device`; ValueError if there is none."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if torch.device(self.device).type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f'--device is "{self.device}", but there is no CUDA GPU; use cpu')
        return torch.device(self.device)


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """Training images."""

    data: tuple[str, ...]
    """Folders or zips of images, used together."""
    mirror: bool = True
    """Mirror half of the training images."""


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """Learning rates, which fall exponentially."""

    lr: float
    """Learning rate."""
    critic_lr: float | None = None
    """Learning rate of the critic. Default: that of --lr."""
    lr_decay_images: int | None = None
    """Images in which the learning rates fall smoothly to 0.8 of themselves. Default: constant."""

    def __post_init__(self) -> None:
        at_least(self, 0, "lr", "critic_lr")
        at_least(self, 1, "lr_decay_images")

    def decay(self, images_seen: int) -> float:
        """Factor of the learning rates: 0.8^(images_seen / lr_decay_images)."""
        return 1.0 if self.lr_decay_images is None else 0.8 ** (images_seen / self.lr_decay_images)


@dataclass(frozen=True, kw_only=True)
class EmaSettings:
    """Exponential moving average of the weights."""

    ema_images: float
    """Half-life of the moving average of the weights, in images."""
    ema_rampup: float | None = 0.05
    """The half-life is at most this share of the images seen; 0: no ramp."""

    def __post_init__(self) -> None:
        at_least(self, 0, "ema_images", "ema_rampup")


@dataclass(frozen=True, kw_only=True)
class R1Settings:
    """R1 penalty of a critic, computed lazily."""

    r1_gamma: float | None = None
    """Weight gamma of R1. Default: by the size of the images."""
    r1_interval: int = 16
    """Steps between two R1 penalties."""

    def __post_init__(self) -> None:
        at_least(self, 0, "r1_gamma")
        at_least(self, 1, "r1_interval")


def at_least(settings: Any, least: float, *names: str) -> None:
    """Raise ValueError if a field of `settings` is below `least`; None is not compared."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < least:
            raise ValueError(f"--{flag(name)} is {value}; it must be at least {least}")


def flag(name: str) -> str:
    """Name of a field on the command line, without dashes in front."""
    return name.replace("_", "-")


def to_dict(settings: Any) -> dict[str, Any]:
    """All settings by flag name, as JSON has them; sections are flattened."""
    return {flag(name): _json(value) for _, name, value in _leaves(settings)}


def resume_key(settings: Any) -> dict[str, Any]:
    """Settings by flag name that a checkpoint must agree with."""
    return {
        flag(name): _json(value)
        for section, name, value in _leaves(settings)
        if name not in getattr(section, "MAY_CHANGE", ())
    }


def _leaves(settings: Any) -> Iterator[tuple[Any, str, Any]]:
    """(section, field name, value) of every field."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from _leaves(value)
        else:
            yield settings, field.name, value


def _json(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_json(x) for x in value]
    return str(value) if isinstance(value, Path) else value
