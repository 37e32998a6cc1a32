"""What the tests of gradients share: finite differences in float64."""

import pytest
import torch


def few(image):
    """(N, C, H, W) -> (N, 8) random mixtures, so that a whole Jacobian is quickly had."""
    mixtures = torch.randn(8, *image.shape[1:], generator=torch.Generator().manual_seed(0))
    return image.flatten(1) @ mixtures.flatten(1).double().T


def check_second_derivatives(generator, ws):
    """A path-length penalty: the gradient of |d image / d w|^2 by finite differences."""

    def penalty(ws):
        image = generator.synthesize(ws)
        (gradient,) = torch.autograd.grad(image.square().sum(), ws, create_graph=True)
        return gradient.square().sum()

    ws = ws.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(penalty(ws), ws)
    direction = torch.randn(ws.shape, generator=torch.Generator().manual_seed(0)).double()
    step = 1e-6
    values = [penalty(ws + sign * step * direction).item() for sign in (1, -1)]
    slope = (values[0] - values[1]) / (2 * step)
    assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-4)
