"""Oracle: PyTorch's own pooling, and finite differences."""

import pytest
import torch
import torch.nn.functional as F

from facsimile.stylegan.pooling import Shrink, mean2x2


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side", [(6, 4), (5, 7)])
def test_the_slices_are_the_mean(layout, side):
    x = torch.randn(2, 3, *side, dtype=torch.float64).contiguous(memory_format=layout)
    found = []
    for mean in (Shrink.apply, lambda x: F.avg_pool2d(x, 2)):
        leaf = x.detach().requires_grad_()
        y = mean(leaf)
        (gradient,) = torch.autograd.grad(y.square().sum(), leaf, create_graph=True)
        (second,) = torch.autograd.grad(gradient.pow(3).sum(), leaf)
        found.append((y, gradient, second))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert torch.equal(mean2x2(x), F.avg_pool2d(x, 2))


def test_derivatives_are_those_of_finite_differences():
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Shrink.apply, (x,))
    assert torch.autograd.gradgradcheck(Shrink.apply, (x,))


def test_the_layout_and_type_stay():
    x = torch.randn(2, 8, 4, 4, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    x.requires_grad_()
    y = Shrink.apply(x)
    y.backward(torch.ones_like(y))
    for result in (y, x.grad):
        assert result.dtype == torch.bfloat16
        assert result.is_contiguous(memory_format=torch.channels_last)
