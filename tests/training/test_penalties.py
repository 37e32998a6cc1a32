"""R1, path lengths and the moving average against their formulas."""

import math

import pytest
import torch
from torch import nn

from facsimile.training import ema
from facsimile.training.penalties import path_lengths, r1


def test_r1_by_hand():
    """D(x) = sum(a x^2): its gradient is 2 a x."""
    source = torch.Generator().manual_seed(0)
    a = torch.randn(3, 4, 4, generator=source).double().requires_grad_()
    image = torch.randn(5, 3, 4, 4, generator=source).double().requires_grad_()
    penalty = r1((a * image.square()).sum((1, 2, 3))[:, None], image)
    expected = 4 * (a * image).square().sum((1, 2, 3))
    torch.testing.assert_close(penalty, expected)
    (gradient,) = torch.autograd.grad(penalty.sum(), a)
    torch.testing.assert_close(gradient, (8 * a * image.square()).sum(0))


def test_r1_by_differences(make_discriminator):
    network = make_discriminator(8, 4).double()
    image = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    penalty = r1(network(image), image)
    slopes = torch.zeros_like(image)
    with torch.no_grad():
        for index in range(3 * 8 * 8):
            step = torch.zeros(3 * 8 * 8, dtype=torch.float64)
            step[index] = 1e-6
            for row in range(2):
                ahead, behind = image.clone(), image.clone()
                ahead[row] += step.view(3, 8, 8)
                behind[row] -= step.view(3, 8, 8)
                difference = (network(ahead) - network(behind)).sum() / 2e-6
                slopes[row].view(-1)[index] = difference
    torch.testing.assert_close(penalty, slopes.square().sum((1, 2, 3)), rtol=1e-5, atol=1e-9)


def test_path_lengths_of_a_linear_generator():
    """image = A w for every input: |A^T y| / sqrt(H W), y the direction."""
    source = torch.Generator().manual_seed(0)
    a = torch.randn(3 * 4 * 4, 6, generator=source).double()
    ws = torch.randn(5, 2, 6, generator=source).double().requires_grad_()
    image = (ws.sum(1) @ a.T).view(5, 3, 4, 4)
    y = torch.randn(5, 3, 4, 4, generator=source).double()
    expected = (y.flatten(1) @ a).norm(dim=1) / math.sqrt(4 * 4)
    torch.testing.assert_close(path_lengths(ws, image, y), expected)


def test_average():
    module, average = nn.Linear(3, 2), nn.Linear(3, 2).requires_grad_(False)
    before = average.weight.clone()
    ema.update(average, module, 0.75)
    torch.testing.assert_close(average.weight, 0.75 * before + 0.25 * module.weight)


def test_half_life():
    """After `half_life` images half of what was is left, in steps of any size."""
    for batch in (4, 32):
        factor = ema.decay(batch, images_seen=10**9, half_life=640, rampup=0.05)
        assert factor ** (640 // batch) == pytest.approx(0.5)
    # Young: a twentieth of the images seen.
    assert ema.decay(32, images_seen=3200, half_life=10_000, rampup=0.05) == pytest.approx(
        0.5 ** (32 / 160)
    )
    assert ema.decay(32, images_seen=3200, half_life=10_000, rampup=0) == pytest.approx(0.5**0.0032)
