"""Exponential moving average of weights, its half-life counted in images."""

import torch
from torch import nn


def decay(batch: int, seen: int, half_life: float, ramp: float) -> float:
    """Factor of the old average per step of `batch` images: 0.5^(batch / h).

    h is `half_life` images, but at most `ramp` times the images seen, so that a young average
    forgets how it began.
    """
    images = min(half_life, seen * ramp) if ramp else half_life
    return 0.5 ** (batch / max(images, 1e-8))


@torch.no_grad()
def update(average: nn.Module, module: nn.Module, factor: float) -> None:
    """average = factor * average + (1 - factor) * module; buffers are copied."""
    theirs = [x.detach() for x in module.parameters()]
    torch._foreach_lerp_(list(average.parameters()), theirs, 1 - factor)
    for mine, other in zip(average.buffers(), module.buffers(), strict=True):
        mine.copy_(other)
