"""Perceptual distances, all of one form: a network's scaled features, and one distance on them.

Legend: N images, C channels, HxW pixels; layer l has C_l channels and h_l x w_l pixels. The
features of a target are computed once; in a loop only the changing image is evaluated again.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, mse_loss

from .checks import check_images, check_pair, check_range
from .pixel import Normalise, masked_mean
from .resize import resize_to_fit


def distance(
    a_features: Sequence[Tensor],
    b_features: Sequence[Tensor],
    mask: Tensor | None = None,
    normalise: Normalise = "image",
) -> Tensor:
    """Sum over layers of the mean over pixels of the sum over channels of (a - b)^2, (N,).

    a_features, b_features: per layer (N, C_l, h_l, w_l), from one `Perceptual` at one image size.
    mask: (N or 1, 1, H, W) in [0, 1], 1 = counts; averaged down to each layer's size. "image"
    divides by all pixels of the layer (Image2StyleGAN++, section 4.1), "mask" by the mask's sum.
    Raises ValueError when the features do not belong together.
    """
    shapes = [
        [tuple(feature.shape) for feature in features] for features in (a_features, b_features)
    ]
    if shapes[0] != shapes[1] or not shapes[0]:
        raise ValueError(
            f"got features of shapes {shapes[0]} and {shapes[1]}, expected the same, at least one; "
            "compute both with one Perceptual, from images of one shape"
        )
    return sum(
        _layer_distance(a, b, mask, normalise) for a, b in zip(a_features, b_features, strict=True)
    )


def _layer_distance(a: Tensor, b: Tensor, mask: Tensor | None, normalise: Normalise) -> Tensor:
    # Unlike (a - b).square(), mse_loss allocates no tensor for the difference.
    error = mse_loss(a, b, reduction="none")
    height, width = error.shape[2:]
    if mask is None:
        return error.sum((1, 2, 3)) / (height * width)
    small = adaptive_avg_pool2d(mask.to(error.dtype), (height, width))
    return masked_mean(error.sum(1, keepdim=True), small, normalise)


def normalize_features(feature: Tensor, scale: Tensor | float = 1.0, eps: float = 1e-10) -> Tensor:
    """Divide each pixel's channel vector by its length plus eps, and multiply by `scale`.

    feature: (N, C, H, W). scale: (1, C, 1, 1) or one number.
    """
    # The clamp keeps the gradient 0, not NaN, where all channels are 0. vector_norm would do so
    # too, but over the channel axis it takes five times as long on a CPU.
    squares = feature.square().sum(1, keepdim=True)
    length = squares.clamp_min(torch.finfo(feature.dtype).tiny).sqrt()
    return feature * (scale / (length + eps))


class Perceptual(nn.Module):
    """A frozen network whose scaled features are compared by `distance`.

    name:         the metric's name in scores.
    description:  one sentence: range, resize, backbone, mean over what, which direction is better.
    note:         one sentence for the user: which network was chosen and why; `description` unless
                  it is set.
    max_size:     larger images are shrunk until their longer side has so many pixels; None: never.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        description: str,
        *,
        max_size: int | None,
        min_size: int = 1,
        multiple: int = 1,
        channels: int = 3,
    ) -> None:
        """`network`: images (N, channels, H, W) in [-1, 1] -> list of scaled features.

        min_size: smallest side that the network accepts, in pixels. multiple: what its sides must
        be multiples of, in pixels. channels: of the images that it accepts.
        """
        super().__init__()
        self.name, self.description, self.note = name, description, description
        self.max_size, self.min_size, self.multiple = max_size, min_size, multiple
        self.channels = channels
        self.network = network
        self.eval().requires_grad_(False)

    def features(self, image: Tensor) -> list[Tensor]:
        """Scaled features per layer, (N, C_l, h_l, w_l), in the network's own precision.

        image: (N, C, H, W) in [-1, 1]. For a network of colour images, one channel is repeated,
        and of four channels (RGBA) the first three are used. Autocast is off, because half
        precision changes distances. Raises ValueError for other numbers of channels.
        """
        check_images(image)
        with torch.autocast(image.device.type, enabled=False):
            parameter = next(self.network.parameters(), image)
            image = self._with_channels(image.to(parameter.dtype))
            return self.network(resize_to_fit(image, self.max_size, self.min_size, self.multiple))

    def forward(self, a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
        """Distance per image, (N,), for scoring. a, b: (N, C, H, W) in [-1, 1]; mask as `distance`.

        Raises ValueError on shapes that do not fit and on values clearly outside the range. In a
        loop keep the target's `features` and use `distance`.
        """
        check_pair(a, b, mask)
        check_range(a)
        check_range(b)
        return distance(self.features(a), self.features(b), mask).to(a.dtype)

    def _with_channels(self, image: Tensor) -> Tensor:
        got = image.shape[1]
        if got == self.channels:
            return image
        if got == 1:
            return image.expand(-1, self.channels, -1, -1)
        if got == 4 and self.channels == 3:
            return image[:, :3]
        raise ValueError(
            f"got images of {got} channels, {self.name} takes {self.channels}; "
            "choose another perceptual distance, or none"
        )
