"""What a recipe gives the loop of `train.py`: modules and losses; the loop does all the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class Trainable:
    """Modules that one optimiser moves."""

    name: str
    module: nn.Module
    optimizer: Optimizer


@dataclass(frozen=True)
class BatchSlice:
    """Which samples of the run a process draws now; every draw is a function of it.

    Samples are counted over the whole run and all processes, so that the number of processes and
    micro-steps changes nothing but rounding.
    """

    step: int
    first: int
    """Number of the first sample."""
    n: int
    whole: bool
    """Whether these are all samples that this process has in this step."""


@dataclass(frozen=True, kw_only=True)
class Distributed:
    """Where a recipe runs."""

    device: torch.device
    rank: int = 0
    """Number of this process."""
    processes: int = 1
    mean: Callable[[Tensor], Tensor] = lambda x: x
    """Mean of a tensor over all processes."""
    find: Callable[[str], Any]
    """Trained networks by name or path: .generator, .discriminator (or None), .encoders."""
    landmarks: Path | None = None
    """The bundled landmark network."""

    @property
    def main(self) -> bool:
        """Whether this process reports, measures and writes."""
        return self.rank == 0


class Recipe(Protocol):
    """Networks and their objective. Losses are means over samples, weighted already."""

    players: tuple[Trainable, ...]
    """In the order in which a step updates them."""
    group: int
    """Samples that must stay together, in one process and micro-step."""

    def open_data(self) -> str:
        """Read what it trains on; returns what that is, in a sentence."""
        ...

    def losses(self, player: str, place: BatchSlice) -> dict[str, Tensor]:
        """Named terms of a player's loss on the samples at `place`."""
        ...

    def after(self, place: BatchSlice) -> None:
        """What follows the update of all players: moving averages, adaptive settings."""
        ...

    def state(self) -> dict[str, Any]:
        """What must survive a stop, beside the players: tensors, numbers, dicts of them."""
        ...

    def load_state(self, state: dict[str, Any]) -> None: ...

    def figures(self) -> dict[str, float]:
        """Numbers for the log that are no losses."""
        ...

    def samples(self) -> list[Tensor]:
        """Rows of images (C, H, W) in [-1, 1]: the same fixed inputs every time."""
        ...

    def scores(self) -> dict[str, float]:
        """How good the networks are now; may take minutes."""
        ...

    def save(self, out: Path) -> None:
        """Write the networks for use into the folder."""
        ...
