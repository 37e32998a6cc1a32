"""Oracle: finite differences, in float64 on a 16 px generator."""

import pytest
import torch
from differences import check_second_derivatives, few
from torch.autograd import gradcheck

from facsimile.stylegan import Feature, spaces


@pytest.fixture(scope="module")
def small(make_generator):
    generator = make_generator(16, 3, 4, conv_clamp=256.0).double()
    z = torch.randn(2, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return generator, generator.map(z)


@pytest.mark.parametrize("name", spaces.SPACES)
def test_code(small, name):
    generator, _ = small
    space = spaces.SPACES[name]
    code = space.initial_code(generator, 1, "random", seed=4).requires_grad_()
    assert gradcheck(lambda x: few(generator.synthesize(space.decode(generator, x))), code)
    (gradient,) = torch.autograd.grad(
        generator.synthesize(space.decode(generator, code)).square().sum(), code
    )
    assert gradient.abs().sum() > 0


def test_feature_and_image_so_far(small):
    generator, ws = small
    feature = generator.synthesize(ws, stop="b8.conv0")
    x, rgb = (t.clone().requires_grad_() for t in feature[1:])

    def draw(x, rgb):
        return few(generator.synthesize(ws, start=Feature("b8.conv0", x, rgb)))

    assert gradcheck(draw, (x, rgb))


def test_noise(small):
    generator, ws = small
    maps = [m.requires_grad_() for m in generator.noise_maps(2)]
    assert gradcheck(lambda *m: few(generator.synthesize(ws, m)), maps, fast_mode=True)
    gradients = torch.autograd.grad(generator.synthesize(ws, maps).square().sum(), maps)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_weights(make_generator):
    """Training a generator: the energies of its weights are then part of the graph."""
    generator = make_generator(8, 3, 4).double().requires_grad_(True)
    ws = torch.randn(2, generator.num_ws, 4, generator=torch.Generator().manual_seed(0)).double()
    weight = generator.synthesis.b8.conv0.weight
    (gradient,) = torch.autograd.grad(generator.synthesize(ws).square().sum(), weight)
    direction = torch.ones_like(weight)
    values = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            weight += step * direction
            values.append(generator.synthesize(ws).square().sum().item())
    slope = (values[0] - values[1]) / 2e-6
    assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-5)


def test_second_derivatives(small):
    check_second_derivatives(*small)
