"""StyleGAN1's synthesis network.

Legend: N images, L style inputs (num_ws), C channels (in: I, out: O), HxW pixels, r side of a map.
"A Style-Based Generator Architecture for Generative Adversarial Networks", section 2. There layer i
ends with noise, bias, leaky ReLU, instance norm and style i. Here the last two run at the beginning
of layer i + 1. So a feature is the tensor before them, as in BDInvert, and style i acts on it.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import (
    GAIN,
    CachedTransform,
    Linear,
    activate,
    as_batch,
    filter2d,
    four_shifts,
    linear,
    resample_filter,
)
from .synthesis import ConstantInputSynthesis, Layer


def centred(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (N, C, H, W) -> its pixels minus their mean (N, H W, C), and 1 / their deviation (N, C).

    The mean is subtracted first: layer 0 hardly varies, and E[x^2] - E[x]^2 would be all rounding
    error there.
    """
    n, channels, height, width = x.shape
    # Over channels-last memory such means take a tenth of the time of torch.var_mean.
    pixels = x.permute(0, 2, 3, 1).reshape(n, height * width, channels)
    pixels = pixels - pixels.mean(1, keepdim=True)
    return pixels, torch.rsqrt(pixels.square().mean(1) + 1e-8)


def restyle(x: Tensor, style: Tensor, gain: float = 1.0) -> Tensor:
    """Instance norm and style of x (N, C, H, W), times gain; style: (N, 2C), (scale - 1, shift).

    "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization", equation 8.
    """
    pixels, scale = centred(x)
    style_scale, shift = (style * gain).chunk(2, 1)
    pixels = torch.addcmul(shift[:, None], pixels, ((style_scale + gain) * scale)[:, None])
    return pixels.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


class Epilogue(nn.Module):
    """Base of all layers: noise and bias after the convolution; `affine` gives the next style."""

    def __init__(self, channels: int, w_dim: int, resolution: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.affine = Linear(w_dim, 2 * channels)
        self.noise_strength = nn.Parameter(torch.zeros(channels))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))


class Constant(Epilogue):
    """Layer 0: the learned constant, with its noise and bias."""

    def __init__(self, channels: int, w_dim: int, resolution: int = 4):
        super().__init__(channels, w_dim, resolution)
        self.const = nn.Parameter(torch.ones(channels, resolution, resolution))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        # Rounded twice, like the original: if a channel of this layer hardly varies, the instance
        # norm magnifies the last bit a thousandfold.
        if noise is not None:
            x = x + noise * self.noise_strength[:, None, None]
        return activate(x + self.bias[:, None, None])


class Conv(Epilogue):
    """Instance norm and style of the previous layer; 3x3 convolution; noise, bias, leaky ReLU.

    weight: (O, I, 3, 3). With `up` the output has twice the resolution, blurred. fused: whether an
    up-sampling layer was trained as the fused operation, which flips the kernel.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        w_dim: int,
        resolution: int,
        *,
        up: bool = False,
        fused: bool = False,
    ):
        super().__init__(outputs, w_dim, resolution)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.up = up
        self.kernel = CachedTransform(fused_kernel if fused else nearest_kernel)
        if up:
            self.register_buffer("blur", resample_filter((1, 2, 1)), persistent=False)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        """x: (N, I, H, W); style: (N, 2I); noise: (1 or N, 1, H', W') or None -> (N, O, H', W')."""
        # The equalised learning rate scales the style, which is smaller than the weight.
        x = restyle(x, style, GAIN / math.sqrt(self.weight[0].numel()))
        if self.up:
            kernel = self.kernel(self.weight)
            x = as_batch(lambda x: F.conv_transpose2d(x, kernel, stride=2, padding=1), x)
            x = filter2d(x, self.blur, (1, 1), bias=self.bias)
        else:
            x = as_batch(lambda x: F.conv2d(x, self.weight, self.bias, padding=1), x)
        if noise is not None:
            x = torch.addcmul(x, noise, self.noise_strength[:, None, None])
        return activate(x)


def fused_kernel(weight: Tensor) -> Tensor:
    """(O, I, 3, 3) -> (I, O, 4, 4) of the transposed convolution with stride 2."""
    return four_shifts(weight.transpose(0, 1))


def nearest_kernel(weight: Tensor) -> Tensor:
    """Kernel of the transposed convolution that equals nearest x2, then a correlation with weight.

    It takes 16 multiplications per input pixel instead of 4 x 9.
    """
    return fused_kernel(weight.flip(2, 3))


class ToRGB(nn.Module):
    """Instance norm and style of the last layer, then a 1x1 convolution to the image's channels."""

    def __init__(self, inputs: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x: (N, I, H, W); style: (N, 2I) -> (N, channels, H, W)."""
        pixels, scale = centred(x)
        style_scale, shift = style.chunk(2, 1)
        # Per-sample weights are tiny here, and save a pass over the activations.
        weight = self.weight[:, :, 0, 0] / math.sqrt(self.weight.shape[1])  # (channels, I)
        bias = linear(shift, weight, self.bias)[:, None]
        weight = weight * ((style_scale + 1) * scale)[:, None]  # (N, channels, I)
        y = torch.baddbmm(bias, pixels, weight.transpose(1, 2))
        return y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


class StyleGAN1(ConstantInputSynthesis):
    """A feature is the output of a leaky ReLU; only the last layer writes an image."""

    def __init__(
        self, w_dim: int, img_channels: int, channels: Sequence[int], fused_from: int = 128
    ):
        """channels: width of the blocks 4, 8, ..; fused_from: smallest resolution whose up-sampling
        convolutions are fused."""
        super().__init__()
        self.layer0 = Constant(channels[0], w_dim)
        self.layer1 = Conv(channels[0], channels[0], w_dim, 4)
        for block, (inputs, outputs) in enumerate(zip(channels, channels[1:], strict=False), 1):
            resolution = 4 * 2**block
            fused = resolution >= fused_from
            up = Conv(inputs, outputs, w_dim, resolution, up=True, fused=fused)
            setattr(self, f"layer{2 * block}", up)
            setattr(self, f"layer{2 * block + 1}", Conv(outputs, outputs, w_dim, resolution))
        self.torgb = ToRGB(channels[-1], img_channels)
        self.layers = self._list_layers(len(channels))

    @classmethod
    def from_config(cls, config: dict) -> "StyleGAN1":
        """config: that of a `Generator`, with the widths "channels" and "fused_from"."""
        return cls(
            config["w_dim"], config["img_channels"], config["channels"], config["fused_from"]
        )

    @classmethod
    def ws_of_mapping(cls, config: dict) -> int:
        """The mapping of IDInvert gives each of the two layers of a block a different w."""
        return 2 * len(config["channels"]) if config.get("w_per_layer") else 0

    def _list_layers(self, blocks: int) -> list[Layer]:
        layers, affine = [], None
        for index in range(2 * blocks):
            module, resolution = getattr(self, f"layer{index}"), 4 * 2 ** (index // 2)
            style = index - 1 if index else None
            layers.append(Layer(f"layer{index}", module, affine, style, index, resolution, True))
            affine = module.affine
        layers.append(Layer("torgb", self.torgb, affine, index, None, resolution, False))
        return layers

    @property
    def const(self) -> Tensor:
        return self.layer0.const
