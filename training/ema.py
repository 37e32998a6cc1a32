"""Exponential moving average of weights, with its half-life counted in images."""

import torch
from torch import nn


def decay(batch: int, images_seen: int, half_life: float, rampup: float | None) -> float:
    """Factor of the old average per step of `batch` images: 0.5^(batch / h).

    h is `half_life` images, but at most `rampup` times the images seen, so that a young average
    forgets its initial weights. As StyleGAN2's training loop (ema_kimg, ema_rampup).
    """
    images = min(half_life, images_seen * rampup) if rampup else half_life
    return 0.5 ** (batch / max(images, 1e-8))


@torch.no_grad()
def update(average: nn.Module, module: nn.Module, factor: float) -> None:
    """average = factor * average + (1 - factor) * module; buffers are copied."""
    weights = [x.detach() for x in module.parameters()]
    torch._foreach_lerp_(list(average.parameters()), weights, 1 - factor)
    for target, source in zip(average.buffers(), module.buffers(), strict=True):
        target.copy_(source)
