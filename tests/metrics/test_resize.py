"""Oracles: block means, PyTorch's kernels, and what they do at edges."""

import pytest
import torch
from torch.nn.functional import interpolate

from facsimile.metrics.resize import resize, resize_to_fit


def images(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def checkerboard(size):
    """-1 and 1 in blocks of 8 px: the edges make the bicubic kernel overshoot."""
    index = torch.arange(size) // 8
    return ((index[:, None] + index) % 2 * 2.0 - 1)[None, None]


def test_whole_factors_are_means_of_blocks_and_nothing_aliases():
    image = images(1, 2, 12, 8)
    blocks = image.view(1, 2, 6, 2, 2, 4).mean((3, 5))
    torch.testing.assert_close(resize(image, (6, 2)), blocks)
    assert resize(image, (12, 8)) is image
    stripes = torch.tensor([1.0, -1.0]).repeat(50).expand(1, 1, 100, 100)
    assert resize(stripes, (30, 30))[..., 2:-2, 2:-2].abs().max() < 0.05


@pytest.mark.parametrize("size", [(40, 40), (100, 100), (30, 50)])
def test_other_sizes_are_bicubic_and_the_clamp_clips_the_overshoot(size):
    image = checkerboard(64)
    plain, clamped = resize(image, size), resize(image, size, clamp=True)
    bicubic = interpolate(image, size=size, mode="bicubic", antialias=True, align_corners=False)
    assert torch.equal(plain, bicubic)
    assert plain.abs().max() > 1.01
    assert torch.equal(clamped, bicubic.clamp(-1, 1))


def test_the_clamp_takes_the_gradient_of_what_it_clips():
    image = checkerboard(64).requires_grad_()
    resized = resize(image, (40, 40))
    overshoot = (resized.detach().abs() > 1).double()
    for clamp, has_gradient in ((False, True), (True, False)):
        value = (resize(image, (40, 40), clamp=clamp) * overshoot).sum()
        (gradient,) = torch.autograd.grad(value, image)
        assert (gradient.abs().max() > 0) == has_gradient


def test_a_size_that_is_none():
    with pytest.raises(ValueError, match=r"got the size \(0, 4\) .* at least 1 px"):
        resize(images(1, 3, 8, 8), (0, 4))


def test_resize_to_fit():
    for shape, limit, options, expected in (
        ((64, 64), 16, {}, (16, 16)),
        ((24, 48), 16, {}, (8, 16)),
        ((12, 12), 16, {}, (12, 12)),
        ((4, 4), 16, {"min_size": 8}, (8, 8)),
        ((30, 30), 16, {"multiple": 4}, (16, 16)),
        ((30, 30), None, {"multiple": 4}, (28, 28)),
    ):
        assert resize_to_fit(images(1, 3, *shape), limit, **options).shape[2:] == expected
