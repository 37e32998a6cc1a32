"""Structural similarity, at one scale and at five.

Legend: N images, C channels, HxW pixels. Images are float in [-1, 1], any number of channels.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from .checks import at_least_float, check_pair, check_range

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# The window must still fit after four halvings.
MS_SSIM_SIDE = (WINDOW - 1) * 2 ** (len(SCALE_WEIGHTS) - 1) + 1


def ssim(a: Tensor, b: Tensor, peak: float = 2.0, black: float = -1.0) -> Tensor:
    """Structural similarity per image, (N,), at most 1 = identical; larger is better.

    "Image Quality Assessment: From Error Visibility to Structural Similarity", eq. 13: Gaussian
    window 11x11, sigma 1.5, population covariance, only windows that lie inside the image, mean
    over pixels and channels.
    a, b: (N, C, H, W), at least 11x11. peak: width of the images' range, 2 for [-1, 1].
    black: the value of black, subtracted first. Unlike PSNR, SSIM depends on it: 0 takes the
    numbers as they are, as scikit-image does; -1 gives [-1, 1] images the SSIM of their 0..255
    originals.
    Raises ValueError on shapes that do not fit and on values clearly outside the range.
    """
    _check(a, b, peak, WINDOW, "SSIM")
    dtype = a.dtype
    a, b = (at_least_float(x) - black for x in (a, b))
    luminance, contrast = _similarity(a, b, peak)
    return (luminance * contrast).mean((1, 2, 3)).to(dtype)


def ms_ssim(a: Tensor, b: Tensor, peak: float = 2.0, black: float = -1.0) -> Tensor:
    """Structural similarity over five scales per image, (N,), in [0, 1]; larger is better.

    "Multiscale structural similarity for image quality assessment", eq. 7: contrast and structure
    at scales 1..4, full SSIM at scale 5, 2x2 mean pooling between (an odd last row or column is
    its own mean), per channel, then the mean over channels. Negative factors count as 0.
    a, b: (N, C, H, W), at least 161x161. peak and black: as in `ssim`.
    Raises ValueError on shapes that do not fit and on values clearly outside the range.
    """
    _check(a, b, peak, MS_SSIM_SIDE, "MS-SSIM")
    dtype = a.dtype
    a, b = (at_least_float(x) - black for x in (a, b))
    product = torch.ones((), dtype=a.dtype, device=a.device)
    for scale, weight in enumerate(SCALE_WEIGHTS):
        if scale > 0:
            a, b = (avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False) for x in (a, b))
        luminance, contrast = _similarity(a, b, peak)
        last = scale == len(SCALE_WEIGHTS) - 1
        factor = (luminance * contrast if last else contrast).mean((2, 3))  # (N, C)
        # Two steps, because the slope of x^weight at 0 is infinite.
        positive = factor > 0
        product = product * torch.where(positive, factor, 1) ** weight * positive
    return product.mean(1).to(dtype)


def _check(a: Tensor, b: Tensor, peak: float, min_size: int, metric: str) -> None:
    check_pair(a, b)
    if min(a.shape[2:]) < min_size:
        height, width = a.shape[2:]
        raise ValueError(
            f"got images of {height}x{width}, {metric} needs at least {min_size}x{min_size}; "
            "leave it out for images this small"
        )
    check_range(a, peak)
    check_range(b, peak)


def _similarity(a: Tensor, b: Tensor, peak: float) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure maps, each (N, C, H-10, W-10)."""
    maps = torch.cat([a, b, a * b, a * a + b * b], dim=1)  # (N, 4C, H, W)
    mean_a, mean_b, product, squares = _blur(maps).chunk(4, dim=1)
    mean_product = mean_a * mean_b
    mean_squares = mean_a * mean_a + mean_b * mean_b
    c1, c2 = (K1 * peak) ** 2, (K2 * peak) ** 2
    luminance = (2 * mean_product + c1) / (mean_squares + c1)
    contrast = (2 * (product - mean_product) + c2) / (squares - mean_squares + c2)
    return luminance, contrast


def _blur(maps: Tensor) -> Tensor:
    """Separable Gaussian over each channel, without borders: (N, K, H, W) -> (N, K, H-10, W-10).

    One group per channel also keeps CUDA on its full float32 kernel: TensorFloat-32 has 10 bits,
    too few for the variance, which is a small difference of large numbers.
    """
    channels = maps.shape[1]
    at = torch.arange(WINDOW, dtype=maps.dtype, device=maps.device) - WINDOW // 2
    window = torch.exp(-at.square() / (2 * SIGMA**2))
    window = (window / window.sum()).expand(channels, 1, WINDOW)
    rows = conv2d(maps, window[:, :, :, None], groups=channels)
    return conv2d(rows, window[:, :, None, :], groups=channels)
