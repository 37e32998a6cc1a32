"""Oracles: scikit-image, known answers, exact identities."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from facsimile.metrics import mse, psnr


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(3, 3, 20, 24, generator=generator) * 2 - 1
    b = (a + 0.1 * torch.randn(a.shape, generator=generator)).clamp(-1, 1)
    return a, b


def test_psnr_is_that_of_scikit_image(pair):
    a, b = pair
    expected = [
        peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=2)
        for x, y in zip(a, b, strict=True)
    ]
    assert psnr(a, b).tolist() == pytest.approx(expected, rel=1e-5)


def test_known_answer():
    a = torch.zeros(1, 3, 8, 8)
    assert psnr(a, a + 0.1, peak=1.0).item() == pytest.approx(20.0, abs=1e-4)
    assert psnr(2 * a - 1, 2 * (a + 0.1) - 1).item() == pytest.approx(20.0, abs=1e-4)
    assert mse(a, a + 0.1).item() == pytest.approx(0.01, rel=1e-5)


def test_psnr_does_not_depend_on_the_range(pair):
    a, b = pair
    for peak in (1.0, 255.0):
        c, d = ((x + 1) / 2 * peak for x in (a, b))
        torch.testing.assert_close(psnr(c, d, peak=peak), psnr(a, b))


def test_identical_images(pair):
    a, _ = pair
    assert mse(a, a).tolist() == [0, 0, 0]
    assert psnr(a, a).tolist() == [math.inf] * 3


@pytest.mark.parametrize("metric", [mse, psnr])
def test_symmetric_and_per_image(metric, pair):
    a, b = pair
    values = metric(a, b)
    torch.testing.assert_close(values, metric(b, a))
    singles = torch.cat([metric(x[None], y[None]) for x, y in zip(a, b, strict=True)])
    torch.testing.assert_close(values, singles)


@pytest.mark.parametrize("metric", [mse, psnr])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_keeps_dtype_and_takes_any_channel_count(metric, dtype, channels):
    a = torch.linspace(-1, 1, channels * 64).view(1, channels, 8, 8).to(dtype)
    value = metric(a, -a)
    assert value.dtype == dtype
    assert value.shape == (1,)


def test_small_errors_survive_half_precision():
    a = torch.full((1, 3, 8, 8), 2**-10, dtype=torch.float16)
    assert psnr(a, -a).item() == pytest.approx(10 * math.log10(4 / 2**-18), rel=1e-3)


@pytest.mark.parametrize("normalise", ["mask", "image"])
def test_mask_of_ones_is_no_mask(pair, normalise):
    a, b = pair
    ones = torch.ones(3, 1, 20, 24)
    torch.testing.assert_close(mse(a, b, ones, normalise=normalise), mse(a, b))
    torch.testing.assert_close(mse(a, b, ones[:1], normalise=normalise), mse(a, b))
    torch.testing.assert_close(psnr(a, b, ones), psnr(a, b))


def test_mask_weighs_pixels(pair):
    a, b = pair
    mask = torch.zeros(3, 1, 20, 24)
    mask[..., 5:10, 6:12] = 1
    inside = mse(a[..., 5:10, 6:12], b[..., 5:10, 6:12])
    torch.testing.assert_close(mse(a, b, mask), inside)
    torch.testing.assert_close(mse(a, b, 0.5 * mask), inside)
    # Image2StyleGAN++, eq. 1: ||M * (a - b)||^2 / N.
    expected = (0.5 * mask * (a - b)).square().mean((1, 2, 3))
    torch.testing.assert_close(mse(a, b, 0.5 * mask, normalise="image"), expected)


@pytest.mark.parametrize("normalise", ["mask", "image"])
def test_masked_out_pixels_have_no_influence_and_no_gradient(pair, normalise):
    a, b = pair
    mask = torch.ones(3, 1, 20, 24)
    mask[..., 10:] = 0
    changed = torch.cat([a[..., :10], torch.zeros(3, 3, 20, 14)], dim=3).requires_grad_()
    value = mse(changed, b, mask, normalise)
    torch.testing.assert_close(value, mse(a, b, mask, normalise))
    value.sum().backward()
    assert (changed.grad[..., 10:] == 0).all()
    assert (changed.grad[..., :10] != 0).any()


def test_empty_mask_is_zero_with_zero_gradient(pair):
    a, b = pair
    a = a.clone().requires_grad_()
    value = mse(a, b, torch.zeros(3, 1, 20, 24))
    value.sum().backward()
    assert value.tolist() == [0, 0, 0]
    assert (a.grad == 0).all()


def test_gradients_are_those_of_finite_differences():
    a = torch.linspace(-0.9, 0.9, 24, dtype=torch.float64).view(2, 1, 3, 4)
    b, mask = -(a**2), (a + 1) / 2
    assert torch.autograd.gradcheck(lambda x: mse(x, b, mask), a.clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda x: psnr(x, b), a.clone().requires_grad_())


def test_errors_say_got_expected_and_remedy():
    image = torch.zeros(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"\(3, 8, 8\), expected \(N, C, H, W\); add a batch axis"):
        mse(image[0], image[0])
    with pytest.raises(ValueError, match=r"\(2, 3, 8, 8\) and \(2, 3, 4, 8\).*resize or crop"):
        mse(image, image[:, :, :4])
    with pytest.raises(ValueError, match=r"uint8, expected floating point.*image / 127.5 - 1"):
        mse(image.byte(), image.byte())
    with pytest.raises(ValueError, match=r"mask of shape \(2, 8, 8\), expected \(2, 1, 8, 8\)"):
        mse(image, image, image[:, 0])
    with pytest.raises(ValueError, match=r"mask of torch.bool.*use mask.float\(\)"):
        mse(image, image, image[:, :1].bool())
    with pytest.raises(ValueError, match=r'normalise=\'sum\', expected "mask" or "image"'):
        mse(image, image, image[:, :1], normalise="sum")
    with pytest.raises(ValueError, match=r"up to 200, expected them in \[-1, 1\]; convert"):
        psnr(image, image + 200)
    with pytest.raises(ValueError, match=r"up to 200, expected them in \[0, 1\].*right peak"):
        psnr(image, image + 200, peak=1.0)
