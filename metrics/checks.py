"""Checks of images: shapes, dtypes and ranges.

Legend: N images, C channels, HxW pixels. Shapes and dtypes are checked everywhere, because that is
free; ranges only for scores, because reading a maximum waits for the device.
"""

import torch
from torch import Tensor


def check_images(image: Tensor) -> None:
    """Raise ValueError unless `image` is a floating-point (N, C, H, W) tensor."""
    if image.ndim != 4:
        raise ValueError(
            f"got an image tensor of shape {tuple(image.shape)}, expected (N, C, H, W); "
            "add a batch axis with image[None]"
        )
    if not image.is_floating_point():
        raise ValueError(
            f"got an image tensor of {image.dtype}, expected floating point in [-1, 1]; "
            "convert 8-bit images with image / 127.5 - 1"
        )


def check_pair(a: Tensor, b: Tensor, mask: Tensor | None = None) -> None:
    """Raise ValueError unless a and b are images of one shape and `mask` fits them.

    a, b: (N, C, H, W). mask: (N, 1, H, W), or (1, 1, H, W) for all images.
    """
    check_images(a)
    check_images(b)
    if a.shape != b.shape:
        raise ValueError(
            f"got images of shapes {tuple(a.shape)} and {tuple(b.shape)}, expected one shape; "
            "resize or crop one of them first"
        )
    if mask is None:
        return
    fitting = (len(a), 1, *a.shape[2:])
    if tuple(mask.shape) not in (fitting, (1, *fitting[1:])):
        raise ValueError(
            f"got a mask of shape {tuple(mask.shape)}, expected {fitting} to fit images of shape "
            f"{tuple(a.shape)}; make it one channel and as large as the images"
        )
    if not mask.is_floating_point():
        raise ValueError(
            f"got a mask of {mask.dtype}, expected floating point in [0, 1]; use mask.float()"
        )


def check_range(image: Tensor, peak: float = 2.0, slack: float = 1.1) -> None:
    """Raise ValueError if values are clearly outside an image range of width `peak`.

    Values up to `slack` times the peak pass, because generators and bicubic kernels overshoot. NaN
    passes too; it shows in the score. Waits for the device: not for losses.
    """
    largest = image.detach().abs().nan_to_num(nan=0.0).amax().item() if image.numel() else 0.0
    if largest > slack * peak:
        lower, upper = (-1, 1) if peak == 2.0 else (0, f"{peak:g}")
        raise ValueError(
            f"got image values up to {largest:.4g}, expected them in [{lower}, {upper}]; "
            "convert 0..255 images with image / 127.5 - 1"
            + ("" if peak == 2.0 else ", or pass the right peak")
        )


def at_least_float(image: Tensor) -> Tensor:
    """Half-precision images as float32, others as they are: squares underflow in 16 bits."""
    return image.float() if image.dtype in (torch.float16, torch.bfloat16) else image
