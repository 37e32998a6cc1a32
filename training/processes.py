"""What processes that train together exchange: gradients, losses, and whether they are finite."""

import time
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from .recipe import Distributed, Trainable


class Diverged(RuntimeError):
    """A loss or a weight became NaN or infinite."""


@torch.no_grad()
def all_reduce_gradients(weights: Sequence[Tensor], distributed: Distributed) -> None:
    """Replace every gradient by its mean over all processes."""
    if distributed.processes == 1:
        return
    gradients = [x.grad for x in weights if x.grad is not None]
    flat = distributed.all_mean(torch.cat([x.flatten() for x in gradients]))
    for gradient, mean in zip(gradients, flat.split([x.numel() for x in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def check_finite(trainables: Iterable[Trainable]) -> None:
    """Raise Diverged if any weight is not finite: such weights must not replace good ones."""
    for trainable in trainables:
        largest = torch.stack([x.detach().abs().amax() for x in trainable.module.parameters()])
        if not bool(largest.isfinite().all()):
            raise Diverged(_message(f"a weight of the {trainable.name}"))


class Meter:
    """Means of the losses since they were last read; adding does not wait for the device."""

    def __init__(self, distributed: Distributed, batch: int):
        self.distributed, self.batch = distributed, batch
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._start_time, self._steps = time.perf_counter(), 0

    def add(self, losses: Mapping[str, Tensor]) -> None:
        for name, value in losses.items():
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def step(self) -> None:
        self._steps += 1

    def read(self) -> dict[str, float]:
        """Mean of every loss over the processes, and images per second; raises Diverged."""
        sums = torch.stack([total / self._counts[name] for name, total in self._sums.items()])
        means = dict(zip(self._sums, self.distributed.all_mean(sums).tolist(), strict=True))
        for name, value in means.items():
            if not abs(value) < float("inf"):
                raise Diverged(_message(f"loss {name}"))
        speed = self._steps * self.batch / (time.perf_counter() - self._start_time)
        self._reset()
        return {f"loss/{name}": value for name, value in means.items()} | {"images/s": speed}


def _message(what: str) -> str:
    return (
        f"{what} became NaN or infinite; the last checkpoint was written before and is unchanged: "
        "try a lower learning rate or --precision fp32 in another folder"
    )
