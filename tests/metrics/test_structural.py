"""Oracles: scikit-image, a plain five-scale evaluation, exact identities."""

import pytest
import torch
from skimage.metrics import structural_similarity
from torch.nn.functional import avg_pool2d

from facsimile.metrics import ms_ssim, ssim
from facsimile.metrics.structural import SCALE_WEIGHTS, WINDOW, _blur


def pair(side, channels=3, count=2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, count, channels, side, side, generator=generator)
    a = avg_pool2d(noise[0], 5, 1, 2) * 2
    return [x.clamp(-1, 1).to(dtype) for x in (a, a + 0.3 * noise[1])]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("side", [11, 40, 65])
def test_ssim_is_that_of_scikit_image(channels, side):
    a, b = pair(side, channels)
    expected = [
        structural_similarity(
            (x.numpy().astype("float64") + 1) * 127.5,
            (y.numpy().astype("float64") + 1) * 127.5,
            channel_axis=0,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for x, y in zip(a, b, strict=True)
    ]
    assert ssim(a, b).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("metric", "side"), [(ssim, 32), (ms_ssim, 161)])
def test_identities(metric, side):
    a, b = pair(side)
    value = metric(a, b)
    assert metric(a, a).tolist() == pytest.approx([1, 1], abs=1e-6)
    assert (value < 0.99).all()
    torch.testing.assert_close(metric(b, a), value)
    singles = torch.cat([metric(x[None], y[None]) for x, y in zip(a, b, strict=True)])
    torch.testing.assert_close(value, singles)


@pytest.mark.parametrize(("metric", "side"), [(ssim, 32), (ms_ssim, 161)])
def test_range_does_not_matter_when_peak_and_black_are_right(metric, side):
    a, b = pair(side)
    expected = metric((a + 1) * 127.5, (b + 1) * 127.5, peak=255.0, black=0.0)
    torch.testing.assert_close(metric(a, b), expected, atol=1e-5, rtol=0)
    assert (expected - metric(a, b, black=0.0)).abs().max() > 1e-3  # SSIM feels where zero lies


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_dtype(dtype):
    a, b = pair(161, count=1, dtype=dtype)
    for metric in (ssim, ms_ssim):
        value = metric(a, b)
        assert value.dtype == dtype
        exact = metric(a.double(), b.double())
        torch.testing.assert_close(value.double(), exact, atol=4e-3, rtol=0)


def test_ms_ssim_is_a_product_over_five_scales():
    a, b = pair(176, channels=2, dtype=torch.float64)
    expected = torch.ones(2, 2, dtype=torch.float64)
    for scale, weight in enumerate(SCALE_WEIGHTS):
        # The dense window of the definition, with c1 = 0.02^2 and c2 = 0.06^2 for peak 2.
        at = torch.arange(WINDOW, dtype=torch.float64) - 5
        line = torch.exp(-(at**2) / (2 * 1.5**2))
        window = (line[:, None] * line / line.sum() ** 2)[None, None]

        def mean(x, window=window):
            n, c, h, w = x.shape
            blurred = torch.nn.functional.conv2d(x.reshape(n * c, 1, h, w), window)
            return blurred.view(n, c, h - 10, w - 10)

        covariance = mean(a * b) - mean(a) * mean(b)
        variances = mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2
        factor = (2 * covariance + 0.0036) / (variances + 0.0036)
        if scale == 4:
            factor = factor * (
                (2 * mean(a) * mean(b) + 0.0004) / (mean(a) ** 2 + mean(b) ** 2 + 0.0004)
            )
        expected = expected * factor.mean((2, 3)).clamp(min=0) ** weight
        a, b = avg_pool2d(a, 2), avg_pool2d(b, 2)
    value = ms_ssim(*pair(176, 2, dtype=torch.float64), black=0.0)
    torch.testing.assert_close(value, expected.mean(1))


def test_ms_ssim_falls_with_blur():
    a, _ = pair(192, count=1)
    blurs = [
        avg_pool2d(a, size, 1, size // 2, count_include_pad=False) for size in (1, 3, 5, 9, 17)
    ]
    values = [ms_ssim(a, blurred).item() for blurred in blurs]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[-1] > 0.1


def test_negative_factors_count_as_zero_and_leave_the_gradient_finite():
    a, _ = pair(161, count=1)
    a = a.requires_grad_()
    value = ms_ssim(a, -a.detach())
    value.sum().backward()
    assert value.item() == 0
    assert a.grad.isfinite().all()


def test_window_is_a_normalised_gaussian():
    dot = torch.zeros(1, 2, 21, 21, dtype=torch.float64)
    dot[..., 10, 10] = 1
    blurred = _blur(dot)
    assert blurred.sum((2, 3)).tolist() == [pytest.approx([1, 1])]
    ratio = blurred[0, 0, 5, 6] / blurred[0, 0, 5, 5]
    assert ratio.item() == pytest.approx(2.718281828 ** (-1 / 4.5))


def test_gradients_are_those_of_finite_differences():
    a, b = pair(12, channels=1, count=1, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ssim(x, b), a.requires_grad_())


def test_ms_ssim_has_a_gradient():
    a, b = pair(161, count=1)
    a = a.requires_grad_()
    ms_ssim(a, b).sum().backward()
    assert a.grad.isfinite().all()
    assert a.grad.abs().max() > 0


def test_errors_name_the_least_side():
    small = torch.zeros(1, 3, 160, 200)
    with pytest.raises(ValueError, match="160x200, MS-SSIM needs at least 161x161"):
        ms_ssim(small, small)
    with pytest.raises(ValueError, match="10x200, SSIM needs at least 11x11; leave it out"):
        ssim(small[:, :, :10], small[:, :, :10])
    with pytest.raises(ValueError, match=r"up to 255, expected them in \[-1, 1\]"):
        ssim(small + 255, small)
