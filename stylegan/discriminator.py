"""The residual discriminator of StyleGAN2 and the plain one of StyleGAN1, with or without labels.

Legend: N images, C channels, HxW pixels, R side of the image.
The features of its blocks also serve as a perceptual distance that needs no download.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import (
    GAIN,
    CachedTransform,
    Linear,
    activate,
    as_batch,
    downsample,
    filter2d,
    four_shifts,
    image_layout,
    resample_filter,
)
from .mapping import Mapping, check_label
from .pooling import mean2x2


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Architecture and sizes."""

    architecture: Literal["stylegan1", "stylegan2"] = "stylegan2"
    img_resolution: int
    img_channels: int
    channels: tuple[int, ...]
    """Width of the blocks 4, 8, .., img_resolution."""
    c_dim: int = 0
    mapping_layers: int = 8
    """Layers of the label's mapping. StyleGAN1 ignores it, and `conv_clamp`."""
    conv_clamp: float | None = None
    mbstd_group: int = 4
    """Group size of the minibatch standard deviation, in images."""
    downsampling: Literal["fir", "mean"] = "fir"
    """"fir" is StyleGAN2's; "mean" is a 2x2 mean before conv1 and skip, which is faster.

    StyleGAN1 ignores it: it always has a blur and a 2x2 mean.
    """


class Conv(nn.Module):
    """Convolution with an equalised learning rate, then with `bias` bias and activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        bias: bool = True,
        clamp: float | None = None,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.clamp = clamp

    def forward(self, x: Tensor, gain: float = 1.0, stride: int = 1, padding: int = 0) -> Tensor:
        """(N, I, H, W) -> (N, O, H', W'), times gain."""
        scale = 1 / math.sqrt(self.weight[0].numel())
        if self.bias is not None:
            gain = gain * GAIN
        weight = self.weight * (scale * gain)
        bias = None if self.bias is None else self.bias * gain
        x = as_batch(lambda x: F.conv2d(x, weight, bias, stride, padding), x)
        if bias is None:
            return x
        return activate(x, clamp=None if self.clamp is None else self.clamp * gain / GAIN)


class Block(nn.Module):
    """Residual block that halves the resolution."""

    def __init__(self, config: DiscriminatorConfig, inputs: int, outputs: int, first: bool):
        super().__init__()
        clamp = config.conv_clamp
        if first:
            self.fromrgb = Conv(config.img_channels, inputs, 1, clamp=clamp)
        self.conv0 = Conv(inputs, inputs, 3, clamp=clamp)
        self.conv1 = Conv(inputs, outputs, 3, clamp=clamp)
        self.skip = Conv(inputs, outputs, 1, bias=False)
        self.register_buffer("resample_filter", resample_filter())
        self.downsampling = config.downsampling

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H/2, W/2)."""
        if hasattr(self, "fromrgb"):
            x = self.fromrgb(image_layout(x))
        half = math.sqrt(0.5)
        if self.downsampling == "mean":
            y = self.skip(mean2x2(x), gain=half)
            x = self.conv1(mean2x2(self.conv0(x, padding=1)), gain=half, padding=1)
        else:
            y = self.skip(downsample(x, self.resample_filter), gain=half)
            x = filter2d(self.conv0(x, padding=1), self.resample_filter, (2, 2))
            x = self.conv1(x, gain=half, stride=2)
        return x + y


class PlainConv(nn.Module):
    """StyleGAN1's convolution: its gain multiplies the weight and not the bias."""

    def __init__(self, inputs: int, outputs: int, kernel: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.downsampling_kernel = CachedTransform(downsampling_kernel)

    def forward(self, x: Tensor, *, down: bool = False) -> Tensor:
        """(N, I, H, W) -> (N, O, H, W); with `down` (3x3 only) (N, O, H/2, W/2)."""
        scale = GAIN / math.sqrt(self.weight[0].numel())
        if down:
            weight, stride, padding = self.downsampling_kernel(self.weight), 2, 1
        else:
            weight, stride, padding = self.weight, 1, self.weight.shape[-1] // 2
        weight = weight * scale
        x = as_batch(lambda x: F.conv2d(x, weight, self.bias, stride, padding), x)
        return activate(x)


def downsampling_kernel(weight: Tensor) -> Tensor:
    """(O, I, 3, 3) -> (O, I, 4, 4): with stride 2, the convolution followed by a 2x2 mean.

    StyleGAN1 runs one operation from 128 pixels on and two below; the result is the same.
    """
    return four_shifts(weight) / 4


class PlainBlock(nn.Module):
    """StyleGAN1's block, without a residual; halves the resolution."""

    def __init__(self, config: DiscriminatorConfig, inputs: int, outputs: int, first: bool):
        super().__init__()
        if first:
            self.fromrgb = PlainConv(config.img_channels, inputs, 1)
        self.conv0 = PlainConv(inputs, inputs, 3)
        self.conv1 = PlainConv(inputs, outputs, 3)
        self.register_buffer("blur", resample_filter((1, 2, 1)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H/2, W/2)."""
        if hasattr(self, "fromrgb"):
            x = self.fromrgb(image_layout(x))
        return self.conv1(filter2d(self.conv0(x), self.blur, (1, 1)), down=True)


class Epilogue(nn.Module):
    """Minibatch statistics and the last layers, at 4x4."""

    def __init__(self, config: DiscriminatorConfig, outputs: int):
        super().__init__()
        width = config.channels[0]
        self.conv = Conv(width + 1, width, 3, clamp=config.conv_clamp)
        self.fc = Linear(width * 4 * 4, width)
        self.out = Linear(width, outputs)
        self.group = config.mbstd_group

    def dense(self, x: Tensor) -> Tensor:
        """(N, width, 4, 4) -> (N, width)"""
        x = torch.cat([x, minibatch_std(x, self.group)], 1)
        x = self.conv(x, padding=1)
        return activate(self.fc(x.flatten(1), gain=GAIN))


class PlainEpilogue(nn.Module):
    """The last layers of StyleGAN1."""

    def __init__(self, config: DiscriminatorConfig, outputs: int):
        super().__init__()
        width = config.channels[0]
        self.conv = PlainConv(width + 1, width, 3)
        self.fc = Linear(width * 4 * 4, width)
        self.out = Linear(width, outputs)
        self.group = config.mbstd_group

    def dense(self, x: Tensor) -> Tensor:
        """(N, width, 4, 4) -> (N, width)"""
        x = self.conv(torch.cat([x, minibatch_std(x, self.group)], 1))
        # The gain multiplies the weight and not the bias.
        return activate(self.fc(x.flatten(1) * GAIN))


def minibatch_std(x: Tensor, group: int) -> Tensor:
    """Mean standard deviation over groups of images: (N, C, H, W) -> (N, 1, H, W)."""
    n, _, height, width = x.shape
    size = min(group, n)
    if n % size:
        raise ValueError(
            f"got a batch of {n} images; the minibatch standard deviation needs a multiple of "
            f"{size}"
        )
    y = x.reshape(size, n // size, *x.shape[1:])
    y = (y.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))  # (N / size,)
    return y.repeat(size)[:, None, None, None].expand(n, 1, height, width)


class Discriminator(nn.Module):
    """Images, and labels if `c_dim` is not 0, to logits."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        self.config = config
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        widths, plain = config.channels, config.architecture == "stylegan1"
        block, epilogue = (PlainBlock, PlainEpilogue) if plain else (Block, Epilogue)
        self.blocks = []
        for index in range(len(widths) - 1, 0, -1):
            first = index == len(widths) - 1
            name = f"b{4 * 2**index}"
            setattr(self, name, block(config, widths[index], widths[index - 1], first))
            self.blocks.append(name)
        outputs = 1
        if config.c_dim:
            outputs = config.c_dim if plain else widths[0]
        if config.c_dim and not plain:
            self.mapping = Mapping(0, config.c_dim, widths[0], config.mapping_layers)
        self.b4 = epilogue(config, outputs)

    def features(self, image: Tensor) -> list[Tensor]:
        """image: (N, img_channels, H, W) -> outputs of the blocks, highest resolution first.

        None of them depends on the other images of the batch.
        """
        features, x = [], image
        for name in self.blocks:
            x = getattr(self, name)(x)
            features.append(x)
        return features

    def forward(self, image: Tensor, c: Tensor | None = None) -> Tensor:
        """image: (N, img_channels, R, R) in [-1, 1]; c: (N, c_dim) -> logits (N, 1); high: real."""
        return self.logits_from(self.embedding(image), c)

    def embedding(self, image: Tensor) -> Tensor:
        """image: (N, img_channels, R, R) -> the input of the last layer, (N, channels[0])."""
        return self.b4.dense(self.features(image)[-1])

    def logits_from(self, embedding: Tensor, c: Tensor | None = None) -> Tensor:
        """embedding: (N, channels[0]); c: (N, c_dim) -> logits (N, 1)."""
        y = self.b4.out(embedding)
        if not self.config.c_dim:
            return y
        if self.config.architecture == "stylegan1":
            # One output per label.
            return (y * check_label(c, self.config.c_dim)).sum(1, keepdim=True)
        # "cGANs with Projection Discriminator", without its unconditional term, as NVIDIA has it.
        label = self.mapping(None, c)
        return (y * label).sum(1, keepdim=True) / math.sqrt(label.shape[1])
