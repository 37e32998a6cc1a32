"""The protocol of a training recipe: networks, losses, and what to report to `training.loop`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class Trainable:
    """The modules that one optimizer updates."""

    name: str
    module: nn.Module
    optimizer: Optimizer
    uses_forward_graph: bool = True
    """Whether its gradient flows through what `forward` returns; a critic's does not."""
    recomputed: tuple[str, ...] = ()
    """Beginnings of the names of weights that are not trained and that the recipe makes anew of its
    settings: checkpoints do without them."""

    def parameters(self) -> list[nn.Parameter]:
        """Those that are trained."""
        return [x for x in self.module.parameters() if x.requires_grad]

    def to_store(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of the module, or of a copy of it, as a checkpoint has it."""
        return {k: x for k, x in state.items() if not k.startswith(self.recomputed)}

    def load(self, module: nn.Module, stored: dict[str, Tensor]) -> None:
        """Load what `to_store` returned into the module, or into a copy of it."""
        module.load_state_dict(module.state_dict() | stored if self.recomputed else stored)


@dataclass(frozen=True)
class BatchSlice:
    """The samples that one process sees in one micro-step; all random draws are functions of it.

    Samples are numbered over the whole run and all processes, so the number of processes and of
    micro-steps changes nothing but rounding.
    """

    step: int
    start: int
    """Number of the first sample."""
    size: int
    """Samples in the slice."""


@dataclass(frozen=True, kw_only=True)
class Distributed:
    """The processes that train together, and how a recipe gets trained networks."""

    device: torch.device
    rank: int = 0
    """Number of this process."""
    processes: int = 1
    all_mean: Callable[[Tensor], Tensor] = lambda x: x
    """Mean of a tensor over all processes."""
    load_networks: Callable[..., Any]
    """Trained networks by name or path: .generator, .discriminator (or None), .encoders."""
    landmark_network: Path | None = None
    """File of the bundled landmark network."""
    quiet: bool = False
    """Whether no progress is shown."""

    @property
    def is_main(self) -> bool:
        """Whether this process logs, evaluates and writes."""
        return self.rank == 0

    @property
    def shows_progress(self) -> bool:
        """Whether this process has progress bars."""
        return self.is_main and not self.quiet


class TrainingRecipe(Protocol):
    """Networks and their objective. The loop calls the methods in the order in which they stand."""

    trainables: tuple[Trainable, ...]
    """In the order in which a step updates them."""
    group_size: int
    """Samples that share statistics and therefore stay in one process and micro-step."""

    def setup_data(self) -> str:
        """Open the training data; returns a one-line summary."""
        ...

    def forward(self, batch: BatchSlice) -> Any:
        """What the trainables share, such as generated images; None if nothing is shared.

        Called once per step with gradients, and its result passed to all trainables. With several
        micro-steps, called once per trainable and micro-step, so that one graph is in memory at a
        time; without gradients for trainables that do not use its graph.
        """
        ...

    def losses(self, name: str, batch: BatchSlice, shared: Any) -> dict[str, Tensor]:
        """Weighted terms of the loss of the trainable `name`, each a mean over the samples.

        Changes nothing. The loop adds the terms up. An entry that does not require a gradient is a
        statistic: it is not a term, and goes to `record`.
        """
        ...

    def record(self, statistics: dict[str, Tensor]) -> None:
        """Remember the statistics of one micro-step; called only if `losses` returned any."""
        ...

    def learning_rates(self, images_seen: int) -> dict[str, float]:
        """Learning rate of each trainable by name, set before the step after so many images."""
        ...

    def on_step_end(self, batch: BatchSlice) -> None:
        """Follows the update of all trainables: moving averages, adaptive settings."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the trainables: tensors, numbers, and dicts of them."""
        ...

    def load_state(self, state: dict[str, Any]) -> None: ...

    def extra_metrics(self) -> dict[str, float]:
        """Numbers for the log that are not losses."""
        ...

    def sample_grid(self) -> list[Tensor]:
        """Images (C, H, W) in [-1, 1], row by row; of the same fixed inputs every time."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Scores of the networks as they are now; may take minutes."""
        ...

    def save(self, out: Path) -> None:
        """Write the networks into the folder, in the formats that other commands read."""
        ...
