"""StyleGAN2 with grouped convolutions, the rival of `Generator.synthesize` and the discriminator.

The fused form that implementations use at inference: every image has its own modulated and
demodulated weights, and one grouped convolution serves the batch; NCHW, one operation per step.
Plain PyTorch operations, none of them compiled for the purpose.

Legend: N images, L style inputs, I input and O output channels, k kernel side, HxW pixels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.stylegan import Discriminator, Generator
from facsimile.stylegan.discriminator import minibatch_std


def synthesize(generator: Generator, ws: Tensor) -> Tensor:
    """ws: (N, L, w_dim) -> images (N, img_channels, R, R), with the generator's own weights.

    The noise is the constant one.
    """
    synthesis = generator.synthesis
    x = synthesis.b4.const[None].repeat(len(ws), 1, 1, 1)
    image = None
    for layer in synthesis.layers:
        style = layer.affine(ws[:, layer.style])
        if layer.noise is not None:
            x = conv_layer(layer.module, x, style)
            continue
        y = to_rgb(layer.module, x, style)
        if image is not None:
            kernel = getattr(synthesis, layer.name.split(".")[0]).resample_filter
            size = len(kernel)
            y = y + upfirdn(image, kernel, up=2, padding=((size + 1) // 2, (size - 2) // 2))
        image = y
    return image


def conv_layer(layer: nn.Module, x: Tensor, style: Tensor) -> Tensor:
    """Modulated 3x3 convolution, noise, bias, leaky ReLU: (N, I, H, W) -> (N, O, H', W')."""
    x = modulated_conv(x, layer.weight, style, up=layer.up)
    if layer.up:
        x = upfirdn(x, layer.resample_filter * 4, padding=(1, 1))
    x = x + layer.noise_const * layer.noise_strength
    x = x + layer.bias[None, :, None, None]
    x = F.leaky_relu(x, 0.2)
    x = x * math.sqrt(2)
    return _clamp(x, layer.clamp)


def to_rgb(layer: nn.Module, x: Tensor, style: Tensor) -> Tensor:
    """Modulated 1x1 convolution and bias: (N, I, H, W) -> (N, img_channels, H, W)."""
    style = style / math.sqrt(x.shape[1])
    x = modulated_conv(x, layer.weight, style, demodulate=False)
    return _clamp(x + layer.bias[None, :, None, None], layer.clamp)


def modulated_conv(
    x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, up: bool = False
) -> Tensor:
    """x: (N, I, H, W), weight: (O, I, k, k), style: (N, I) -> (N, O, H', W').

    "Analyzing and Improving the Image Quality of StyleGAN", equations 1 and 3.
    """
    n, inputs, height, width = x.shape
    outputs, _, k, _ = weight.shape
    weight = weight[None] * style[:, None, :, None, None]  # (N, O, I, k, k)
    if demodulate:
        scale = (weight.square().sum((2, 3, 4)) + 1e-8).rsqrt()
        weight = weight * scale[:, :, None, None, None]
    x = x.reshape(1, n * inputs, height, width)
    if up:
        weight = weight.transpose(1, 2).reshape(n * inputs, outputs, k, k)
        x = F.conv_transpose2d(x, weight, stride=2, groups=n)
    else:
        weight = weight.reshape(n * outputs, inputs, k, k)
        x = F.conv2d(x, weight, padding=k // 2, groups=n)
    return x.reshape(n, outputs, *x.shape[2:])


def upfirdn(x: Tensor, kernel: Tensor, *, up: int = 1, padding: tuple[int, int]) -> Tensor:
    """Zeros inserted, padded, filtered with a depthwise convolution; gain up^2."""
    n, channels, height, width = x.shape
    if up > 1:
        x = x.reshape(n, channels, height, 1, width, 1)
        x = F.pad(x, (0, up - 1, 0, 0, 0, up - 1))
        x = x.reshape(n, channels, height * up, width * up)
        kernel = kernel * up**2
    before, after = padding
    x = F.pad(x, (before, after, before, after))
    weight = kernel.flip(0, 1)[None, None].repeat(channels, 1, 1, 1)
    return F.conv2d(x, weight, groups=channels)


def discriminate(discriminator: Discriminator, image: Tensor) -> Tensor:
    """image: (N, img_channels, R, R) -> logits (N, 1), with the discriminator's own weights.

    NCHW, one operation per step; for a discriminator that shrinks by a mean and has no labels.
    """
    x = image
    for name in discriminator.blocks:
        block = getattr(discriminator, name)
        if hasattr(block, "fromrgb"):
            x = equalised(block.fromrgb, x)
        y = equalised(block.skip, F.avg_pool2d(x, 2), active=False)
        x = equalised(block.conv0, x, padding=1)
        x = equalised(block.conv1, F.avg_pool2d(x, 2), padding=1)
        x = (x + y) * math.sqrt(0.5)
    last = discriminator.b4
    x = torch.cat([x, minibatch_std(x, last.group)], 1)
    x = equalised(last.conv, x, padding=1)
    x = F.leaky_relu(last.fc(x.flatten(1)), 0.2) * math.sqrt(2)
    return last.out(x)


def equalised(layer: nn.Module, x: Tensor, padding: int = 0, *, active: bool = True) -> Tensor:
    """Convolution with an equalised learning rate, bias, leaky ReLU: (N, I, H, W) -> (N, O, ..)."""
    weight = layer.weight / math.sqrt(layer.weight[0].numel())
    x = F.conv2d(x, weight, padding=padding)
    if not active:
        return x
    x = x + layer.bias[None, :, None, None]
    return _clamp(F.leaky_relu(x, 0.2) * math.sqrt(2), layer.clamp)


def _clamp(x: Tensor, limit: float | None) -> Tensor:
    return x if limit is None else x.clamp(-limit, limit)
