"""Fixed crops of pictures that are aligned as FFHQ's are.

There a face is always at the same place, so that no detector is needed, through which no gradient
would pass.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor


class FaceCrop(NamedTuple):
    """A box in an aligned picture, as shares of the picture's side."""

    center: tuple[float, float]
    """x, y."""
    size: tuple[float, float]
    """Width, height."""

    def sample(self, images: Tensor, pixels: int) -> Tensor:
        """The crop (N, C, pixels, pixels) of aligned pictures (N, C, S, S) of any side."""
        across, down = (
            _matrix_on(images.device, images.dtype, images.shape[-1], pixels, center, share)
            for center, share in zip(self.center, self.size, strict=True)
        )
        return torch.einsum("ih,nchw,jw->ncij", down, images, across)


@cache
def _matrix_on(
    device: torch.device, dtype: torch.dtype, size: int, pixels: int, center: float, share: float
) -> Tensor:
    """`sampling_matrix`, copied to a device once: a copy for every batch would wait for it."""
    with torch.inference_mode(False):
        return sampling_matrix(size, pixels, center, share).to(dtype).to(device)


def sampling_matrix(size: int, pixels: int, center: float, share: float) -> Tensor:
    """Weights (pixels, size) that sample `pixels` values, along one axis, from `size` values.

    center, share: of the crop along this axis, as shares of `size`. The kernel is PyTorch's cubic
    (a = -0.75), widened to an average where the picture is finer than the crop's pixels. Beyond the
    border, the outermost value goes on.
    """
    step = share * size / pixels
    index = torch.arange(pixels, dtype=torch.float64)
    position = (index + 0.5 - pixels / 2) * step + center * size - 0.5
    width = max(step, 1.0)
    reach = int(2 * width) + 1
    taps = position.floor()[:, None] + torch.arange(-reach, reach + 2, dtype=torch.float64)
    weights = _cubic(((taps - position[:, None]) / width).abs())
    weights = weights / weights.sum(1, keepdim=True)
    matrix = torch.zeros(pixels, size, dtype=torch.float64)
    return matrix.scatter_add_(1, taps.long().clamp(0, size - 1), weights)


def _cubic(x: Tensor, a: float = -0.75) -> Tensor:
    """Keys' kernel at distances x >= 0."""
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x <= 1, inner, torch.where(x < 2, outer, torch.zeros_like(x)))
