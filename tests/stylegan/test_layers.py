"""Oracles: sums written out tap by tap, and per-sample weights."""

import math

import pytest
import torch
import torch.nn.functional as F

from facsimile.stylegan.layers import (
    ModulatedConv,
    activate,
    downsample,
    filter2d,
    resample_filter,
    upsample,
)


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def convolve(image, kernel):
    """Full true convolution of (H, W) with (h, w): (H + h - 1, W + w - 1)."""
    (height, width), (rows, columns) = image.shape, kernel.shape
    out = torch.zeros(height + rows - 1, width + columns - 1, dtype=image.dtype)
    for i in range(rows):
        for j in range(columns):
            out[i : i + height, j : j + width] += kernel[i, j] * image
    return out


def insert_zeros(image):
    """(H, W) -> (2H, 2W), the last row and column zero."""
    out = torch.zeros(2 * image.shape[0], 2 * image.shape[1], dtype=image.dtype)
    out[::2, ::2] = image
    return out


def each(function, x):
    return torch.stack([torch.stack([function(channel) for channel in sample]) for sample in x])


def test_the_filter_is_a_low_pass_with_sum_one():
    kernel = resample_filter()
    torch.testing.assert_close(kernel.sum(), torch.tensor(1.0))
    torch.testing.assert_close(kernel * 64, torch.outer(*[torch.tensor([1.0, 3, 3, 1])] * 2))


def test_filter2d_is_a_true_convolution():
    x, kernel = random(2, 3, 5, 7), random(4, 4, seed=1)
    padded = F.pad(x, (2, 1, 2, 1))
    expected = each(lambda c: convolve(c, kernel)[3:-3, 3:-3], padded)
    torch.testing.assert_close(filter2d(x, kernel, (2, 1)), expected)


def test_upsample_is_zero_insertion_and_a_true_convolution():
    x, kernel = random(2, 3, 5, 6), random(4, 4, seed=1)
    # Padding (2, 1): the first output looks at three samples of the full convolution's past.
    expected = each(lambda c: convolve(insert_zeros(c), 4 * kernel)[1:11, 1:13], x)
    torch.testing.assert_close(upsample(x, kernel), expected)


def test_downsample_is_a_true_convolution_and_every_second_pixel():
    x, kernel = random(2, 3, 6, 8), random(4, 4, seed=1)
    expected = each(lambda c: convolve(c, kernel)[2:-1:2, 2:-1:2][:3, :4], x)
    torch.testing.assert_close(downsample(x, kernel), expected)


@pytest.fixture(params=[False, True], ids=["same", "up"])
def conv(request):
    """A modulated convolution 4 -> 3 with an asymmetric filter and nothing at its neutral value."""
    layer = ModulatedConv(4, 3, 5, 12, up=request.param, clamp=2.0).double().requires_grad_(False)
    layer.weight.copy_(random(3, 4, 3, 3))
    layer.bias.copy_(random(3, seed=1))
    layer.noise_strength.fill_(0.3)
    layer.resample_filter.copy_(random(4, 4, seed=2) / 4)
    return layer


def plain(conv, x, style):
    """Each sample with its own demodulated weight, by loops; before noise and activation."""
    images = []
    for sample, scales in zip(x, style, strict=True):
        weight = conv.weight * scales[None, :, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        channels = []
        for kernels in weight:
            if conv.up:
                pairs = zip(sample, kernels, strict=True)
                full = sum(convolve(insert_zeros(c)[:-1, :-1], k) for c, k in pairs)
                channels.append(convolve(full, 4 * conv.resample_filter)[2:-2, 2:-2])
            else:
                pairs = zip(sample, kernels, strict=True)
                # An ordinary layer correlates: the kernel is turned.
                full = sum(convolve(c, k.flip(0, 1)) for c, k in pairs)
                channels.append(full[1:-1, 1:-1])
        images.append(torch.stack(channels))
    return torch.stack(images)


def finish(conv, y, noise):
    y = y if noise is None else y + conv.noise_strength * noise
    y = y + conv.bias[:, None, None]
    return (torch.where(y > 0, y, 0.2 * y) * math.sqrt(2)).clamp(-2, 2)


def test_modulated_convolution_is_that_of_per_sample_weights(conv):
    x, style = random(3, 4, 6, 6, seed=3), random(3, 4, seed=4)
    y = plain(conv, x, style)
    side = y.shape[-1]
    assert side == (12 if conv.up else 6)
    for noise in (None, random(1, 1, side, side, seed=5), random(3, 1, side, side, seed=6)):
        torch.testing.assert_close(conv(x, style, noise), finish(conv, y, noise))
    assert finish(conv, y, None).abs().max() == 2  # the clamp is at work


def test_modulated_convolution_is_the_grouped_one(conv):
    """The two ways of generators.md: scaled activations, and weights of each sample in groups."""
    x, style = random(3, 4, 6, 6, seed=3), random(3, 4, seed=4)
    weight = conv.weight[None] * style[:, None, :, None, None]
    weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    stacked = x.reshape(1, 12, 6, 6)
    if conv.up:
        swapped = weight.transpose(1, 2).flatten(0, 1)
        y = F.conv_transpose2d(stacked, swapped, stride=2, groups=3)
        y = filter2d(y, 4 * conv.resample_filter, (1, 1))
    else:
        y = F.conv2d(stacked, weight.flatten(0, 1), padding=1, groups=3)
    expected = finish(conv, y.unflatten(1, (3, 3))[0], None)
    torch.testing.assert_close(conv(x, style, None), expected)


def test_demodulation_follows_the_weight(conv):
    """The sum of squared weights is kept while frozen, and never outlives the weight."""
    x, style = random(1, 4, 6, 6), random(1, 4, seed=4)
    before = conv(x, style, None)
    conv.weight.mul_(7.0)
    torch.testing.assert_close(conv(x, style, None), before)
    conv.weight[:, 0] *= 3.0
    torch.testing.assert_close(conv(x, style, None), finish(conv, plain(conv, x, style), None))


def test_frozen_layers_serve_gradients_after_inference_mode(conv):
    x, style = random(1, 4, 6, 6), random(1, 4, seed=4)
    with torch.inference_mode():
        conv(x, style, None)
    style.requires_grad_()
    conv(x, style, None).sum().backward()
    assert style.grad.abs().sum() > 0


@pytest.mark.parametrize("shared", [True, False])
def test_training_gives_what_the_frozen_layer_gives(conv, shared):
    source = torch.Generator().manual_seed(3)
    x, style = torch.randn(3, 4, 6, 6, generator=source), torch.randn(3, 4, generator=source)
    side = 12 if conv.up else 6
    noise = torch.randn(1 if shared else 3, 1, side, side, generator=source).double()
    frozen = conv(x.double(), style.double(), noise)
    conv.requires_grad_(True)
    try:
        torch.testing.assert_close(conv(x.double(), style.double(), noise), frozen)
    finally:
        conv.requires_grad_(False)


@pytest.mark.parametrize("train", [True, False])
def test_activations_stay_in_half_precision(train):
    """Under autocast no float32 tensor of the layer may make the activations float32."""
    layer = ModulatedConv(4, 3, 5, 8).requires_grad_(train)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(torch.randn(2, 4, 8, 8).bfloat16(), torch.randn(2, 4), torch.randn(2, 1, 8, 8))
    assert y.dtype == torch.bfloat16


def test_activation():
    x = torch.tensor([-2.0, 0.0, 3.0])
    torch.testing.assert_close(activate(x.clone(), 2.0), torch.tensor([-0.8, 0.0, 6.0]))
    torch.testing.assert_close(activate(x.clone(), clamp=1.0), torch.tensor([-0.4, 0.0, 1.0]))
