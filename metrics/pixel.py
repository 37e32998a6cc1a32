"""Pixel distances: mean squared error and peak signal-to-noise ratio.

Legend: N images, C channels, HxW pixels. Images are float in [-1, 1], any number of channels.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from .checks import at_least_float, check_pair, check_range

Normalise = Literal["mask", "image"]


def masked_mean(values: Tensor, mask: Tensor, normalise: Normalise) -> Tensor:
    """Mean over pixels of squared differences under a mask, per image: (N,).

    values: (N, 1, H, W), squared differences. mask: (N or 1, 1, H, W) in [0, 1]; 1 = counts.
    "mask": sum(m * values) / sum(m), the mean inside the mask; 0 where the mask is empty.
    "image": sum(m^2 * values) / (H*W), the mask multiplied onto the unsquared difference and the
    whole image in the denominator (Image2StyleGAN++, eq. 1).
    """
    mask = mask.to(values.dtype)
    if normalise == "image":
        return (mask.square() * values).mean((1, 2, 3))
    if normalise == "mask":
        # An empty mask is 0 / tiny = 0, without looking at the mask (a sync).
        weight = mask.sum((1, 2, 3)).clamp_min(torch.finfo(values.dtype).tiny)
        return (mask * values).sum((1, 2, 3)) / weight
    raise ValueError(f'got normalise={normalise!r}, expected "mask" or "image"')


def mse(a: Tensor, b: Tensor, mask: Tensor | None = None, normalise: Normalise = "mask") -> Tensor:
    """Mean squared error per image, (N,): mean over channels and pixels of (a - b)^2.

    a, b: (N, C, H, W) in [-1, 1], so values lie in [0, 4], four times those of [0, 1] images.
    mask: (N or 1, 1, H, W) in [0, 1]; 1 = counts: sum(m * e^2) / (C * sum m). With
    normalise="image" it is ||m * (a - b)||^2 / (C*H*W), the pixel term of Image2StyleGAN++, eq. 1.
    Raises ValueError on shapes that do not fit; ranges are not checked, because this is a loss.
    """
    check_pair(a, b, mask)
    error = mse_loss(at_least_float(a), at_least_float(b), reduction="none")
    if mask is None:
        return error.mean((1, 2, 3)).to(a.dtype)
    return masked_mean(error.mean(1, keepdim=True), mask, normalise).to(a.dtype)


def psnr(a: Tensor, b: Tensor, mask: Tensor | None = None, peak: float = 2.0) -> Tensor:
    """Peak signal-to-noise ratio in dB per image, (N,): 10 log10(peak^2 / MSE); identical = inf.

    a, b: (N, C, H, W). peak: width of the images' range, 2 for [-1, 1]; the value does not depend
    on the range when the peak is right. mask: as in `mse`, over masked pixels only.
    Raises ValueError on shapes that do not fit and on values clearly outside the range.
    """
    check_pair(a, b, mask)
    check_range(a, peak)
    check_range(b, peak)
    error = mse(at_least_float(a), at_least_float(b), mask)
    return (10 * torch.log10(peak**2 / error)).to(a.dtype)
