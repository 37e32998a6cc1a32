"""Images of 8 bits a channel, and back: the only two conversions of this project.

An image is floating point in [-1, 1]; its pixels are uint8 from 0 to 255.
"""

import torch
from torch import Tensor


def to_uint8(image: Tensor) -> Tensor:
    """image: any shape, floating point, [-1, 1]. Returns uint8, floor(127.5 x + 128) in 0..255.

    Values outside the range are clipped. The exact inverse of `from_uint8`.
    """
    return (image * 127.5 + 128).clip(0, 255).to(torch.uint8)


def from_uint8(pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """pixels: any shape, uint8, 0 to 255. Returns `dtype` in [-1, 1]: x / 127.5 - 1."""
    return pixels.to(dtype) / 127.5 - 1
