"""The layers of StyleGAN networks: linear layers, FIR resampling, modulated convolutions.

Legend: N images, C channels (in: I, out: O), HxW pixels, D numbers in a latent.
Plain PyTorch: results have the device and dtype of the input, and second derivatives.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
"""Of the leaky ReLU, for negative numbers."""
GAIN = math.sqrt(2)
"""After a leaky ReLU, so that the variance of activations stays the same."""
ROWS = 8
"""`linear` pads a batch to a multiple of so many rows."""
SMALL_IMAGE = 20_480
"""Numbers up to which PyTorch convolves a single image on a CPU by a special routine."""


def image_layout(x: Tensor) -> Tensor:
    """x in the memory layout that makes convolutions fastest on its device; same values.

    On a CPU, channels-last convolutions run 2 to 5 times faster than NCHW (benchmarks/speed.py).
    """
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (N, I), weight (O, I), bias (O,) -> (N, O).

    With gradients enabled, a row has the same result alone and in a batch, to the last bit. On a
    CPU, PyTorch runs other routines for few rows. They round differently, and the hundreds of steps
    of a refinement would amplify that. Padding with zeros to a multiple of 8 rows costs little.
    """
    n = len(x)
    if n % ROWS and x.device.type == "cpu" and torch.is_grad_enabled():
        return F.linear(F.pad(x, (0, 0, 0, -n % ROWS)), weight, bias)[:n]
    return F.linear(x, weight, bias)


def as_batch(convolve: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """convolve(x) for x (N, C, H, W); with gradients, one image as in a batch: see `linear`.

    On a CPU, PyTorch convolves a batch, or one image of more than `SMALL_IMAGE` numbers, by oneDNN,
    and one smaller image by a special routine.
    """
    small = len(x) == 1 and x.numel() <= SMALL_IMAGE and x.device.type == "cpu"
    if small and torch.is_grad_enabled():
        return convolve(torch.cat([x, x.detach()]))[:1]
    return convolve(x)


def resample_filter(taps: tuple[float, ...] = (1, 3, 3, 1)) -> Tensor:
    """Separable low-pass filter as a 2-D kernel (len, len) with sum 1."""
    kernel = torch.tensor(taps, dtype=torch.float32)
    kernel = torch.outer(kernel, kernel)
    return kernel / kernel.sum()


def filter2d(
    x: Tensor,
    kernel: Tensor,
    padding: tuple[int, int],
    stride: int = 1,
    bias: Tensor | None = None,
) -> Tensor:
    """Filter every channel of x (N, C, H, W); padding (before, after) is the same on both axes.

    bias: (C,), added to the result.
    """
    channels, (before, after) = x.shape[1], padding
    if before != after:
        x, before = F.pad(x, (before, after, before, after)), 0
    # A convolution, not a correlation: custom filters need not be symmetric.
    kernel = kernel.flip(0, 1).to(x.dtype).expand(channels, 1, *kernel.shape)
    return F.conv2d(x, kernel, bias, stride=stride, padding=before, groups=channels)


def four_shifts(kernel: Tensor) -> Tensor:
    """(.., k, k) -> (.., k + 1, k + 1): the sum of a kernel's four shifts by 0 or 1 on each axis.

    It merges a convolution and a 2x2 sum, or nearest x2 and a convolution, into one operation.
    """
    padded = F.pad(kernel, (1, 1, 1, 1))
    rows = padded[..., 1:, :] + padded[..., :-1, :]
    return rows[..., 1:] + rows[..., :-1]


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Twice the resolution: zeros inserted, then filtered: (N, C, H, W) -> (N, C, 2H, 2W)."""
    size = kernel.shape[0]
    channels = x.shape[1]
    # Zero insertion and the true convolution with the filter are one transposed convolution.
    weight = (kernel * 4).to(x.dtype).expand(channels, 1, *kernel.shape)
    return F.conv_transpose2d(x, weight, stride=2, padding=(size - 2) // 2, groups=channels)


def downsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Filtered, then every second pixel: (N, C, H, W) -> (N, C, H/2, W/2)."""
    size = kernel.shape[0]
    return filter2d(x, kernel, ((size - 1) // 2, (size - 2) // 2), stride=2)


def activate(x: Tensor, gain: float = 1.0, clamp: float | None = None) -> Tensor:
    """Leaky ReLU in place, times `gain`, clipped to +-clamp; x must be a fresh tensor."""
    x = F.leaky_relu_(x, SLOPE)
    if gain != 1:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


class CachedTransform:
    """A function of a weight; the result is cached while the weight is frozen and unchanged."""

    def __init__(self, compute: Callable[[Tensor], Tensor]):
        self.compute = compute
        self._cache: tuple[object, Tensor] | None = None

    def __call__(self, weight: Tensor) -> Tensor:
        if weight.requires_grad:
            return self.compute(weight)
        key = (weight.data_ptr(), weight._version, weight.dtype)
        if self._cache is None or self._cache[0] != key:
            # A tensor cached in inference mode could not be used for a gradient later.
            with torch.inference_mode(False), torch.no_grad():
                self._cache = (key, self.compute(weight))
        return self._cache[1]


class Linear(nn.Module):
    """Fully connected layer with an equalised learning rate: (..., I) -> (..., O).

    Stored weight = effective weight * sqrt(I) / lr_multiplier.
    """

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, lr_multiplier: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), float(bias) / lr_multiplier))
        self.lr_multiplier = lr_multiplier

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """(..., I) -> (..., O), times gain."""
        # The scale multiplies x, which is smaller than the weight.
        scale = gain * self.lr_multiplier / math.sqrt(self.weight.shape[1])
        return linear(x * scale, self.weight, self.bias * (gain * self.lr_multiplier))


class ModulatedConv(nn.Module):
    """3x3 convolution with input channels scaled by a style; then noise, bias, leaky ReLU.

    weight: (O, I, k, k). With `up` the output has twice the resolution: a transposed convolution,
    then the FIR filter. "Analyzing and Improving the Image Quality of StyleGAN", equations 1 to 3.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        w_dim: int,
        resolution: int,
        *,
        up: bool = False,
        kernel: int = 3,
        clamp: float | None = None,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.affine = Linear(w_dim, inputs, bias=1)
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("resample_filter", resample_filter())
        self.up = up
        self.clamp = clamp
        self.energy = CachedTransform(squares)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        """x: (N, I, H, W); style: (N, I); noise: (1 or N, 1, H', W') or None -> (N, O, H', W')."""
        # Scaled activations instead of per-sample weights: one plain convolution for the batch, and
        # a gradient of the style needs no gradient of a weight.
        demodulation = torch.rsqrt(linear(style.square(), self.energy(self.weight)) + 1e-8)
        x = x * style[:, :, None, None]
        if self.up:
            weight = self.weight.transpose(0, 1)
            x = as_batch(lambda x: F.conv_transpose2d(x, weight, stride=2), x)
            x = filter2d(x, self.resample_filter * 4, (1, 1))
        else:
            padding = self.weight.shape[-1] // 2
            x = as_batch(lambda x: F.conv2d(x, self.weight, padding=padding), x)
        # max(gx, .2gx) = g max(x, .2x): the gain multiplies the small tensors. They are cast to x's
        # dtype: under autocast, float32 ones would make the large tensors float32 too.
        offset = (self.bias * GAIN)[None, :, None, None].to(x.dtype)
        scale = (demodulation * GAIN)[:, :, None, None].to(x.dtype)
        if noise is None:
            x = torch.addcmul(offset, x, scale)
        else:
            noise = (noise * (self.noise_strength * GAIN)).to(x.dtype)
            if self.weight.requires_grad:
                # In training: the gradient of addcmul needs one more pass over the activations.
                x = (x * scale).add_(noise).add_(offset)
            else:
                # In x's memory layout, which the result of addcmul would lose otherwise.
                x = torch.addcmul(image_layout(offset + noise), x, scale)
        return activate(x, clamp=self.clamp)


def squares(weight: Tensor) -> Tensor:
    """Squared weight (O, I, k, k) summed over the kernel: (O, I)."""
    return weight.square().sum((2, 3))


class ToRGB(nn.Module):
    """1x1 convolution to the image's channels, modulated but not demodulated."""

    def __init__(self, inputs: int, channels: int, w_dim: int, clamp: float | None = None):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.affine = Linear(w_dim, inputs, bias=1)
        self.clamp = clamp

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x: (N, I, H, W); style: (N, I), unscaled -> (N, channels, H, W)."""
        n, inputs, height, width = x.shape
        # Per-sample weights are tiny here and save a pass over the activations.
        weight = (
            self.weight[:, :, 0, 0] * (style / math.sqrt(inputs))[:, None, :]
        )  # (N, channels, I)
        pixels = x.permute(0, 2, 3, 1).reshape(n, height * width, inputs)
        y = torch.baddbmm(self.bias, pixels, weight.transpose(1, 2))
        y = y.reshape(n, height, width, -1).permute(0, 3, 1, 2)
        return y if self.clamp is None else y.clamp(-self.clamp, self.clamp)
