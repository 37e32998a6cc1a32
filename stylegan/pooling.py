"""The mean of 2x2 pixels, as what is fast on a device.

On a GPU the backward pass of PyTorch's pooling of 16-bit images with the channels last took a fifth
of the time of training; there it is a sum of slices, whose gradient is a copy.

Legend: N images, C channels, HxW pixels; odd sides lose their last row or column.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function


def mean2x2(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H/2, W/2); differentiable twice and more."""
    return Shrink.apply(x) if x.device.type == "cuda" else F.avg_pool2d(x, 2)


class Shrink(Function):
    """The mean; its gradient is `Spread`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.side = x.shape[2:]
        height, width = (n // 2 * 2 for n in x.shape[2:])
        top, bottom = x[..., 0:height:2, :width], x[..., 1:height:2, :width]
        return (top[..., 0::2] + top[..., 1::2] + bottom[..., 0::2] + bottom[..., 1::2]) * 0.25

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return Spread.apply(gradient, ctx.side)


class Spread(Function):
    """A quarter of each pixel at its four places; its gradient is `Shrink`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, side: torch.Size) -> Tensor:
        n, channels, height, width = x.shape
        if x.is_contiguous(memory_format=torch.channels_last):  # the copy stays in its layout
            last = (x.permute(0, 2, 3, 1) * 0.25)[:, :, None, :, None]
            last = last.expand(-1, -1, 2, -1, 2, -1).reshape(n, 2 * height, 2 * width, channels)
            result = last.permute(0, 3, 1, 2)
        else:
            first = (x * 0.25)[..., None, :, None].expand(-1, -1, -1, 2, -1, 2)
            result = first.reshape(n, channels, 2 * height, 2 * width)
        rows, columns = side[0] - 2 * height, side[1] - 2 * width
        return F.pad(result, (0, columns, 0, rows)) if rows or columns else result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return Shrink.apply(gradient), None
