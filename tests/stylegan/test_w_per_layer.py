"""IDInvert's mapping, a w for every style input. Oracles: one z at a time, torch.cov, the mean."""

import pytest
import torch

from facsimile import stylegan
from facsimile.stylegan import spaces, statistics

INPUTS, DIM = 6, 8


@pytest.fixture(scope="module")
def generator(make_generator):
    """16 px, float64."""
    return make_generator(16, 4, DIM, architecture="stylegan1", w_per_layer=True).double()


@pytest.fixture(scope="module")
def ws(generator):
    z = torch.randn(100_000, DIM, generator=torch.Generator().manual_seed(9)).double()
    return generator.map(z)


def test_map(generator):
    z = torch.randn(2, DIM).double()
    ws = generator.map(z)
    assert ws.shape == (2, INPUTS, DIM)
    fc = generator.mapping.fc1
    assert fc.weight.shape == (INPUTS * DIM, DIM)
    # Rows l D to (l + 1) D of the last layer are input l's.
    x = z / z.square().mean(1, keepdim=True).sqrt()
    x = torch.nn.functional.leaky_relu(generator.mapping.fc0(x, gain=2**0.5), 0.2)
    flat = torch.nn.functional.leaky_relu(fc(x, gain=2**0.5), 0.2)
    torch.testing.assert_close(ws[:, 4], flat[:, 4 * DIM : 5 * DIM])


def test_one_z_for_each_input(generator):
    z = torch.randn(2, INPUTS, DIM).double()
    expected = torch.stack([generator.map(z[:, i])[:, i] for i in range(INPUTS)], 1)
    torch.testing.assert_close(generator.map(z), expected)
    same = z[:, :1].expand(-1, INPUTS, -1)
    torch.testing.assert_close(generator.map(same), generator.map(z[:, 0]))


def test_truncation_is_towards_the_mean_of_each_input(generator):
    average = generator.mapping.w_avg
    assert average.shape == (INPUTS, DIM)
    z = torch.randn(2, DIM).double()
    ws = generator.map(z)
    some = generator.map(z, truncation_psi=0.3, truncation_cutoff=2)
    torch.testing.assert_close(some[:, :2], (average + 0.3 * (ws - average))[:, :2])
    assert torch.equal(some[:, 2:], ws[:, 2:])
    torch.testing.assert_close(generator.map(z, truncation_psi=0.0), average.expand(2, -1, -1))


def test_statistics(generator, ws):
    got = statistics.compute(generator, samples=600_000)
    torch.testing.assert_close(got.w_mean.double(), ws.mean(0), atol=0.02, rtol=0)
    within = (ws - ws.mean(0)).flatten(0, 1)
    expected = within.T @ within / len(within)
    torch.testing.assert_close(got.w_covariance.double(), expected, atol=0.02, rtol=0)
    p = torch.where(ws > 0, ws, 5 * ws).flatten(0, 1)
    torch.testing.assert_close(got.p_mean.double(), p.mean(0), atol=0.1, rtol=0)
    basis, std = got.p_basis.double(), got.p_std.double()
    covariance = basis @ torch.diag(std.square()) @ basis.T
    torch.testing.assert_close(covariance, torch.cov(p.T), atol=0.02 * p.var().item(), rtol=0)


@pytest.mark.parametrize("name", ["w+", "p_n+", "s"])
def test_the_mean_of_every_input(generator, ws, name):
    """Started there, a code draws the average image."""
    latents = stylegan.init_latents(generator, name, 2)
    mean = statistics.latent_statistics(generator).w_mean
    assert (mean[0] - mean[1]).abs().max() > 0.1
    average = generator.synthesize(mean.expand(2, -1, -1))
    torch.testing.assert_close(latents.synthesize(generator), average, atol=1e-3, rtol=0)
    feature = stylegan.init_latents(generator, f"f/{name}", 2, layer="layer3")
    torch.testing.assert_close(feature.synthesize(generator), average, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["w", "p_n"])
def test_one_code_for_all_inputs(generator, name):
    """It starts from the mean over inputs, and every input gets the same."""
    space = spaces.SPACES[name]
    code = space.initial_code(generator, 2, "mean")
    assert code.shape == (2, DIM)
    drawn = space.decode(generator, code)
    assert drawn.shape == (2, INPUTS, DIM)
    mean = statistics.latent_statistics(generator).w_mean.mean(0)
    torch.testing.assert_close(drawn, mean.expand_as(drawn), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["w+", "p_n+", "s"])
def test_samples_deviate_by_about_one(generator, ws, name):
    some = ws[:5000]
    code = {"w+": some, "p_n+": spaces.whiten(generator, some)}.get(name)
    code = torch.cat(generator.styles(some), 1) if code is None else code
    mahalanobis_sq = spaces.SPACES[name].mahalanobis_sq(generator, code)
    # Inputs share one covariance: exactly 1 over all of them in P_N, about 1 in S.
    assert mahalanobis_sq.mean().item() == pytest.approx(1, abs=0.05 if name != "s" else 0.2)
    assert spaces.SPACES[name].mahalanobis_sq(generator, code, first=2).shape == (5000,)


def test_labels(make_generator):
    generator = make_generator(8, 4, DIM, architecture="stylegan1", w_per_layer=True, c_dim=2)
    label = torch.eye(2)[[0, 1]]
    for name, shape in (("w", (2, DIM)), ("w+", (2, 4, DIM)), ("z+", (2, 4, DIM))):
        latents = stylegan.init_latents(generator, name, 2, label=label)
        assert latents.code.shape == shape
        one, other = latents.synthesize(generator)
        assert (one - other).abs().max() > 1e-3
