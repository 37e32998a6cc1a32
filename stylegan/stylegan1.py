"""StyleGAN1's synthesis network.

Legend: N images, L style inputs (num_ws), C channels (in: I, out: O), HxW pixels, r side of a map.
"A Style-Based Generator Architecture for Generative Adversarial Networks". Layer i ends with an
epilogue: noise, bias, leaky ReLU, instance norm, style i. Here the last two run at the beginning of
layer i + 1: so a feature is what BDInvert takes, the tensor before them, and style i acts on it.
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
    image_layout,
    linear,
    resample_filter,
)
from .synthesis import Layer, Synthesis


def centred(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (N, C, H, W) -> its pixels minus their mean (N, H W, C), and 1 / their deviation (N, C).

    The mean goes first: layer 0 hardly varies, and E[x^2] - E[x]^2 would be all rounding there.
    """
    n, channels, height, width = x.shape
    # Over channels-last memory such means take a tenth of the time of torch.var_mean.
    pixels = x.permute(0, 2, 3, 1).reshape(n, height * width, channels)
    pixels = pixels - pixels.mean(1, keepdim=True)
    return pixels, torch.rsqrt(pixels.square().mean(1) + 1e-8)


def restyle(x: Tensor, style: Tensor, gain: float = 1.0) -> Tensor:
    """Instance norm and style of x (N, C, H, W), times gain; style: (N, 2C), scale - 1 and shift.

    "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization", equation 8.
    """
    pixels, scale = centred(x)
    more, shift = (style * gain).chunk(2, 1)
    pixels = torch.addcmul(shift[:, None], pixels, ((more + gain) * scale)[:, None])
    return pixels.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


class Epilogue(nn.Module):
    """What every layer has after its convolution; `affine` makes the style that follows it."""

    def __init__(self, channels: int, w_dim: int, side: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.affine = Linear(w_dim, 2 * channels)
        self.noise_strength = nn.Parameter(torch.zeros(channels))
        self.register_buffer("noise_const", torch.randn(side, side))


class Constant(Epilogue):
    """Layer 0."""

    def __init__(self, channels: int, w_dim: int, side: int = 4):
        super().__init__(channels, w_dim, side)
        self.const = nn.Parameter(torch.ones(channels, side, side))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        # In two roundings, as the original has it: where a channel of this layer hardly varies, the
        # instance norm magnifies the last bit a thousandfold.
        if noise is not None:
            x = x + noise * self.noise_strength[:, None, None]
        return activate(x + self.bias[:, None, None])


class Conv(Epilogue):
    """The layer before's instance norm and style; 3x3 convolution; noise, bias, leaky ReLU.

    weight: (O, I, 3, 3). With `up` the output has twice the side, blurred. fused: whether an up
    layer was trained as the fused operation, which turns the kernel over.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        w_dim: int,
        side: int,
        *,
        up: bool = False,
        fused: bool = False,
    ):
        super().__init__(outputs, w_dim, side)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.up = up
        self.kernel = CachedTransform(fused_kernel if fused else nearest_kernel)
        if up:
            self.register_buffer("blur", resample_filter((1, 2, 1)), persistent=False)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        """x: (N, I, H, W); style: (N, 2I); noise: (1 or N, 1, H', W') or None -> (N, O, H', W')."""
        # The equalised learning rate goes onto the style, which is smaller than the weight.
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
    """The transposed convolution that is nearest x2 and then a correlation with weight.

    Less than half the multiplications: 16 for each pixel of the input, in place of 4 x 9.
    """
    return fused_kernel(weight.flip(2, 3))


class ToRGB(nn.Module):
    """The last layer's instance norm and style, then a 1x1 convolution to the image's channels."""

    def __init__(self, inputs: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x: (N, I, H, W); style: (N, 2I) -> (N, channels, H, W)."""
        pixels, scale = centred(x)
        more, shift = style.chunk(2, 1)
        # Per-sample weights are tiny here, and save a pass over the activations.
        weight = self.weight[:, :, 0, 0] / math.sqrt(self.weight.shape[1])  # (channels, I)
        bias = linear(shift, weight, self.bias)[:, None]
        weight = weight * ((more + 1) * scale)[:, None]  # (N, channels, I)
        y = torch.baddbmm(bias, pixels, weight.transpose(1, 2))
        return y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


class StyleGAN1(Synthesis):
    """A feature is the output of a leaky ReLU; there is no image before the last layer."""

    def __init__(
        self, w_dim: int, img_channels: int, channels: Sequence[int], fused_from: int = 128
    ):
        """channels: width of the blocks 4, 8, ..; fused_from: side from which `Conv` is fused."""
        super().__init__()
        self.layer0 = Constant(channels[0], w_dim)
        self.layer1 = Conv(channels[0], channels[0], w_dim, 4)
        for block, (inputs, outputs) in enumerate(zip(channels, channels[1:], strict=False), 1):
            side = 4 * 2**block
            up = Conv(inputs, outputs, w_dim, side, up=True, fused=side >= fused_from)
            setattr(self, f"layer{2 * block}", up)
            setattr(self, f"layer{2 * block + 1}", Conv(outputs, outputs, w_dim, side))
        self.torgb = ToRGB(channels[-1], img_channels)
        self.layers = self._list_layers(len(channels))

    @classmethod
    def from_config(cls, config: dict) -> "StyleGAN1":
        """config: that of a `Generator`, with the widths "channels" and "fused_from"."""
        return cls(
            config["w_dim"], config["img_channels"], config["channels"], config["fused_from"]
        )

    def _list_layers(self, blocks: int) -> list[Layer]:
        found, affine = [], None
        for index in range(2 * blocks):
            module, side = getattr(self, f"layer{index}"), 4 * 2 ** (index // 2)
            style = index - 1 if index else None
            found.append(Layer(f"layer{index}", module, affine, style, index, side, True))
            affine = module.affine
        found.append(Layer("torgb", self.torgb, affine, index, None, side, False))
        return found

    def begin(self, styles: Sequence[Tensor]) -> Tensor:
        const = self.layer0.const
        return const.to(styles[0].dtype).expand(len(styles[0]), *const.shape)

    def run(
        self, layer: Layer, x: Tensor, rgb: Tensor | None, style: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        x = image_layout(x)
        if layer.feature:
            return layer.module(x, style, noise), None
        return x, layer.module(x, style)
