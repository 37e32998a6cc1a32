"""One way to resize, for target and output alike.

Legend: N images, C channels, HxW pixels. Different kernels on the two sides of a comparison would
be measured as a difference of the pictures.
"""

from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize to `size` = (height, width): area for integer factors, else antialiased bicubic.

    image: (N, C, H, W), any range. Returns (N, C, *size); bicubic may overshoot the range a little.
    """
    if tuple(image.shape[2:]) == size:
        return image
    (rows, rows_left), (columns, columns_left) = (
        divmod(old, new) for old, new in zip(image.shape[2:], size, strict=True)
    )
    if rows_left == columns_left == 0:
        return avg_pool2d(image, (rows, columns))
    return interpolate(image, size=size, mode="bicubic", antialias=True, align_corners=False)


def fit(image: Tensor, side: int | None, smallest: int = 1, multiple: int = 1) -> Tensor:
    """Shrink until the longer side is at most `side`, keeping the aspect; None = any side.

    image: (N, C, H, W). Enlarged only until the shorter side is `smallest`, the least that a
    network takes. Both sides become multiples of `multiple`, rounded down.
    """
    height, width = image.shape[2:]
    scale = 1.0 if side is None else min(1.0, side / max(height, width))
    scale = max(scale, smallest / min(height, width))
    height, width = (
        max(round(pixels * scale) // multiple * multiple, smallest, multiple)
        for pixels in (height, width)
    )
    return resize(image, (height, width))
