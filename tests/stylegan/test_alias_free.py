"""Oracles: sizes of the releases, plain resampling, and the filters' responses."""

import math

import pytest
import torch
import torch.nn.functional as F
from stylegan3_release import RELEASE

from facsimile.stylegan import Generator
from facsimile.stylegan.alias_free import Sampling, levels, low_pass, resampling
from facsimile.stylegan.stylegan3 import Conv, ScaledToRGB, downsample, upsample


def close(got, expected, atol=1e-5):
    torch.testing.assert_close(got, expected, atol=atol, rtol=0)


@pytest.mark.parametrize(
    ("side", "sizes"),
    [
        (1024, [36] * 2 + [52] * 2 + [84] + [148] * 2 + [276] * 2 + [532] + [1044] * 3),
        (256, [36] * 3 + [52] * 2 + [84] * 2 + [148] * 3 + [276] * 3),
    ],
)
def test_sizes_of_the_releases(side, sizes):
    sampling = Sampling(img_resolution=side, **RELEASE)
    signals = levels(sampling)
    assert [level.size for level in signals] == [*sizes, side, side]
    assert [level.rate for level in signals] == [*(size - 20 for size in sizes), side, side]
    assert signals[0].cutoff == 2
    assert signals[-1].cutoff == side / 2
    # Every layer goes to twice the higher of its two rates.
    before, padding = signals[0], {}
    for index, level in enumerate(signals[:-1]):
        way = resampling(sampling, index)
        assert (way.up, way.down) == (2 * level.rate // before.rate, 2)
        assert (len(way.up_filter), len(way.down_filter)) == (6 * way.up, 12)
        padding.setdefault((way.up, level.size == side), way.padding)
        before = level
    assert padding == {(2, False): (9, 8), (4, False): (-6, -9), (2, True): (-11, -12)}


def test_low_pass():
    """It keeps what lies below the transition band, and stops what lies above."""
    rate, cutoff, half_width = 64, 8.0, 6.0
    for taps in (24, 25):
        flat = low_pass(taps, cutoff, half_width, rate).double()
        radial = low_pass(taps, cutoff, half_width, rate, radial=True).double()
        assert flat.sum().item() == pytest.approx(1, abs=1e-6)
        assert radial.sum().item() == pytest.approx(1, abs=1e-6)
        close(radial, radial.T)
        close(radial, radial.rot90())
        at = torch.arange(taps).double() / rate
        for kernel in (flat, radial.sum(0)):
            gains = [
                abs((kernel * torch.exp(2j * math.pi * f * at)).sum())
                for f in (0.5, 2.0, 14.0, 20.0, 32.0)
            ]
            assert all(0.95 < gain < 1.05 for gain in gains[:2])
            assert all(gain < 0.05 for gain in gains[2:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_layers": 2}, "2 layers, 2 of them critically sampled; expected at least"),
        (
            {"first_cutoff": 0},
            "first_cutoff is 0; expected a number of the type float, 1 or larger",
        ),
        ({"first_stopband": math.nan}, "first_stopband is nan; expected"),
        ({"margin_size": -1}, "margin_size is -1; expected a number of the type int, 0 or larger"),
        ({"margin_size": 10.5}, "margin_size is 10.5; expected"),
        ({"img_resolution": 1e9}, "img_resolution is 1000000000.0; expected"),
        ({"filter_size": 1000}, "filters of 2000 and 2000 taps; expected at most 256"),
        ({"num_layers": 5}, "got 5 widths; a StyleGAN3 of 5 layers has 6"),
    ],
)
def test_impossible_configurations(make_generator, change, message):
    config = make_generator(32, 4, 8, architecture="stylegan3").config | change
    with pytest.raises(ValueError, match=message):
        Generator(config)


def plain_resampling(x, taps, up=1, padding=(0, 0), down=1):
    """Zeros inserted, padded or cut, convolved with the filter, every down-th pixel kept."""
    n, channels, height, width = x.shape
    upsampled = x.new_zeros(n, channels, height, up, width, up)
    upsampled[:, :, :, 0, :, 0] = x
    x = F.pad(upsampled.reshape(n, channels, height * up, width * up), padding * 2)
    kernel = torch.outer(taps, taps) if taps.ndim == 1 else taps
    kernel = kernel.flip(0, 1).expand(channels, 1, -1, -1)
    return F.conv2d(x, kernel * up**2, groups=channels)[:, :, ::down, ::down]


@pytest.mark.parametrize(
    ("taps", "up", "padding"),
    [(12, 2, (9, 8)), (24, 4, (-6, -9)), (5, 2, (3, 3)), (4, 2, (7, -2)), (3, 1, (0, 1))],
)
def test_upsample(taps, up, padding):
    """Filters without any symmetry."""
    x, taps = torch.randn(2, 3, 17, 14).double(), torch.randn(taps).double()
    close(upsample(x, taps, up, padding), plain_resampling(x, taps, up, padding), 1e-12)
    assert torch.equal(upsample(x, None, 1, (2, -1)), F.pad(x, (2, -1, 2, -1)))


@pytest.mark.parametrize("shape", [(12,), (5,), (6, 6)])
def test_downsample(shape):
    x, taps = torch.randn(2, 3, 19, 16).double(), torch.randn(shape).double()
    close(downsample(x, taps, 2), plain_resampling(x, taps, down=2), 1e-12)
    assert torch.equal(downsample(x, None, 1), x)


def plain_weights(layer, style):
    """(N, O, I, k, k) of each image: everything in the order of the release."""
    weight = layer.weight * layer.weight.square().mean((1, 2, 3), keepdim=True).rsqrt()
    style = style * style.square().mean(1, keepdim=True).rsqrt()
    weight = weight * style[:, None, :, None, None]
    return weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize("clamp", [None, 0.5])
def test_layer(radial, clamp):
    settings = {"use_radial_filters": radial, "conv_kernel": 1 if radial else 3, "margin_size": 2}
    sampling = Sampling(img_resolution=64, **(RELEASE | settings))
    rates = [level.rate for level in levels(sampling)]
    index = rates.index(2 * rates[0])
    way = resampling(sampling, index)
    assert (way.up, way.down) == (4, 2)
    layer = Conv(5, 4, 3, settings["conv_kernel"], way, clamp).double().requires_grad_(False)
    layer.magnitude_ema.fill_(1.7)
    layer.bias.copy_(torch.randn(4))
    layer.up_filter.add_(0.1 * torch.randn_like(layer.up_filter))
    layer.down_filter.add_(0.1 * torch.randn_like(layer.down_filter))
    x, style = torch.randn(2, 5, 20, 20).double(), torch.randn(2, 5).double()
    weights = plain_weights(layer, style) * layer.magnitude_ema.rsqrt()
    side = weights.shape[-1] - 1
    images = zip(x, weights, strict=True)
    y = torch.stack([F.conv2d(one, weight, layer.bias, padding=side) for one, weight in images])
    y = plain_resampling(y, layer.up_filter, layer.up, layer.padding)
    y = F.leaky_relu(y, 0.2) * math.sqrt(2)
    if clamp is not None:
        assert (y.abs() > clamp).any()
        y = y.clamp(-clamp, clamp)
    y = plain_resampling(y, layer.down_filter, down=layer.down)
    close(layer(x, style), y, 1e-12)


def test_to_rgb():
    layer = ScaledToRGB(5, 3, 4, clamp=0.2).double().requires_grad_(False)
    layer.magnitude_ema.fill_(1.7)
    x, style = torch.randn(2, 5, 6, 6).double(), torch.randn(2, 5).double()
    weights = layer.weight[:, :, 0, 0] * (style / math.sqrt(5 * 1.7))[:, None]
    expected = torch.einsum("noi,nihw->nohw", weights, x) + layer.bias[:, None, None]
    assert (expected.abs() > 0.2).any()
    close(layer(x, style), expected.clamp(-0.2, 0.2), 1e-12)
