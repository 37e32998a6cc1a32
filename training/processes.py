"""What processes that train together share: gradients, losses, and whether they are numbers."""

import time
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from .recipe import Distributed, Trainable


class Diverged(RuntimeError):
    """A loss or a weight is not a number any more."""


@torch.no_grad()
def all_reduce_gradients(weights: Sequence[Tensor], host: Distributed) -> None:
    """Every process gets the mean of all processes' gradients."""
    if host.processes == 1:
        return
    gradients = [x.grad for x in weights if x.grad is not None]
    flat = host.mean(torch.cat([x.flatten() for x in gradients]))
    for gradient, part in zip(gradients, flat.split([x.numel() for x in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def check_finite(players: Iterable[Trainable]) -> None:
    """Raise Diverged if any weight is not finite: such weights must not replace good ones."""
    for player in players:
        largest = torch.stack([x.detach().abs().amax() for x in player.module.parameters()])
        if not bool(largest.isfinite().all()):
            raise Diverged(_diverged(f"weights of the {player.name}"))


class Meter:
    """Means of the losses since they were last read; adding waits for no device."""

    def __init__(self, host: Distributed, batch: int):
        self.host, self.batch = host, batch
        self._clear()

    def _clear(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._began, self._steps = time.perf_counter(), 0

    def add(self, losses: Mapping[str, Tensor]) -> None:
        for name, value in losses.items():
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def step(self) -> None:
        self._steps += 1

    def read(self) -> dict[str, float]:
        """Mean of every loss over the processes, and images per second; raises Diverged."""
        means = torch.stack([total / self._counts[name] for name, total in self._sums.items()])
        found = dict(zip(self._sums, self.host.mean(means).tolist(), strict=True))
        wrong = [name for name, value in found.items() if not abs(value) < float("inf")]
        if wrong:
            raise Diverged(_diverged(f"loss {wrong[0]}"))
        speed = self._steps * self.batch / (time.perf_counter() - self._began)
        self._clear()
        return {f"loss/{name}": value for name, value in found.items()} | {"images/s": speed}


def _diverged(what: str) -> str:
    return (
        f"the {what} became no number; the last checkpoint is from before that and is kept: "
        "go on with a lower learning rate or --precision fp32 in another folder"
    )
