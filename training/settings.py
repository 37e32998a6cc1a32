"""What every run of `train.py` is told, whatever its recipe."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch


@dataclass(frozen=True, kw_only=True)
class Run:
    out: Path
    """Folder of the run. To go on after a stop, run the same command again."""
    images: int
    """Train until so many images were seen in all; may be raised later."""
    batch: int = 32
    """Images per step, over all processes and micro-steps."""
    accumulate: int = 1
    """Micro-steps per step: less memory, the same result."""
    seed: int = 0
    precision: Literal["fp32", "bf16", "fp64"] = "bf16"
    """bf16 keeps weights in float32; fp16 is not offered: two optimisers would share one scaler."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = None
    """CPU threads; default: PyTorch's choice."""
    log_every: int = 20
    """Steps between two entries of the curves."""
    save_every: int = 5_000
    """Images between two checkpoints."""
    sample_every: int = 10_000
    """Images between two sample sheets."""
    score_every: int = 25_000
    """Images between two measurements of the distance."""
    dry_run: bool = False
    """Print the configuration and the sizes of the networks, and leave."""

    FREE: ClassVar[tuple[str, ...]] = (
        *("out", "images", "accumulate", "device", "threads"),
        *("log_every", "save_every", "sample_every", "score_every", "dry_run"),
    )
    """What may differ when a run goes on: none of it changes the weights that a step makes."""

    def __post_init__(self) -> None:
        often = ("log_every", "save_every", "sample_every", "score_every")
        for name in ("images", "batch", "accumulate", *often):
            self._at_least(name, 1)

    def _at_least(self, name: str, least: float) -> None:
        if getattr(self, name) < least:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} is {getattr(self, name)}; it must be at least {least}")

    def plain(self) -> dict[str, Any]:
        """As JSON would have it."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    def fixed(self) -> dict[str, Any]:
        """What a checkpoint must agree with."""
        return {name: value for name, value in self.plain().items() if name not in self.FREE}

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    def autocast(self, device: torch.device) -> torch.autocast:
        """For what the networks compute."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def pick_device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if torch.device(self.device).type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f'--device is "{self.device}", but there is no CUDA GPU; use cpu')
        return torch.device(self.device)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(x) for x in value]
    return str(value) if isinstance(value, Path) else value
