"""The one resize of this project: photos before alignment, and both sides of a comparison.

Legend: N images, C channels, HxW pixels. Two kernels on the two sides of a comparison would be
measured as a difference between the images.
"""

from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate


def resize(image: Tensor, size: tuple[int, int], *, clamp: bool = False) -> Tensor:
    """Resize to `size` = (height, width): area for integer factors, else antialiased bicubic.

    image: (N, C, H, W), any range. Returns (N, C, *size), differentiable.
    clamp: clip the overshoot of the bicubic kernel to [-1, 1], as photos need it. Losses leave it
        in, because the gradient of a clipped pixel is 0.
    """
    height, width = image.shape[2:]
    if (height, width) == tuple(size):
        return image
    if min(size) < 1:
        raise ValueError(
            f"got the size {tuple(size)} to resize to, expected (height, width) of at least 1 px"
        )
    if height % size[0] == width % size[1] == 0:
        return avg_pool2d(image, (height // size[0], width // size[1]))
    resized = interpolate(image, size=size, mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(-1, 1) if clamp else resized


def resize_to_fit(
    image: Tensor, max_size: int | None, min_size: int = 1, multiple: int = 1
) -> Tensor:
    """Shrink until the longer side is at most `max_size` pixels, keeping the aspect.

    image: (N, C, H, W). max_size: None: no limit. min_size: pixels that a network needs at least;
    a shorter side is enlarged to it. Both sides are rounded down to multiples of `multiple`.
    """
    height, width = image.shape[2:]
    scale = 1.0 if max_size is None else min(1.0, max_size / max(height, width))
    scale = max(scale, min_size / min(height, width))
    height, width = (
        max(round(pixels * scale) // multiple * multiple, min_size, multiple)
        for pixels in (height, width)
    )
    return resize(image, (height, width))
