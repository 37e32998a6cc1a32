"""The Fréchet distance against closed forms, scipy, and its own properties."""

import numpy as np
import pytest
import torch
from scipy import linalg

from facsimile.metrics.frechet import Moments, build_features, frechet_distance, moments


def sample(seed, n, d, scale=1.0):
    source = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=source)
    return (
        torch.randn(n, d, generator=source) @ mix * scale + torch.randn(d, generator=source)
    ).double()


def test_moments_are_numpys():
    x = sample(0, 300, 5)
    found = moments(x.split(64))
    np.testing.assert_allclose(found.mean, x.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(x.numpy(), rowvar=False), rtol=1e-10)


def test_one_dimension():
    """(m - n)^2 + (s - t)^2."""
    a = Moments(torch.tensor([1.0]).double(), torch.tensor([[4.0]]).double())
    b = Moments(torch.tensor([4.0]).double(), torch.tensor([[25.0]]).double())
    assert frechet_distance(a, b) == pytest.approx(9 + 9)


def test_commuting_covariances():
    """In a shared eigenbasis it is one dimension after another."""
    turn, _ = torch.linalg.qr(torch.randn(4, 4).double())
    s, t = torch.tensor([1.0, 2, 3, 0]).double(), torch.tensor([2.0, 2, 0, 5]).double()
    zero = torch.zeros(4).double()
    a = Moments(zero, turn @ s.square().diag() @ turn.T)
    b = Moments(zero + 1, turn @ t.square().diag() @ turn.T)
    assert frechet_distance(a, b) == pytest.approx(4 + float((s - t).square().sum()))


@pytest.mark.parametrize("n", [300, 10])
def test_scipy(n):
    """300: sqrtm. 10, fewer images than features: sqrtm fails there, the eigenvalues do not."""
    a, b = moments([sample(0, n, 16)]), moments([sample(1, n, 16, 0.5)])
    product = (a.covariance @ b.covariance).numpy()
    if n == 300:
        cross = np.trace(linalg.sqrtm(product)).real
    else:
        cross = np.sqrt(linalg.eigvals(product).real.clip(0)).sum()
    wanted = float((a.mean - b.mean).square().sum() + (a.covariance + b.covariance).trace())
    assert frechet_distance(a, b) == pytest.approx(wanted - 2 * cross, rel=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-5)


def test_too_few():
    with pytest.raises(ValueError, match="got 1 images, expected at least 2"):
        moments([torch.zeros(1, 3)])


def test_the_discriminators_features_are_named(discriminator):
    chosen = build_features("discriminator", discriminator)
    assert chosen.name == "frechet-discriminator"
    assert "not FID" in chosen.note
    images = torch.randn(3, 3, 64, 64)
    assert chosen.network(images).shape == (3, 16)
    assert build_features("none", discriminator) is None


def test_without_inception(discriminator, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch_fidelity", None)
    assert build_features("auto", discriminator).name == "frechet-discriminator"
    with pytest.raises(FileNotFoundError, match="install torch-fidelity"):
        build_features("inception", discriminator)


def test_squeezenet_wants_a_file(discriminator):
    with pytest.raises(ValueError, match="--frechet-weights"):
        build_features("squeezenet", discriminator)
    with pytest.raises(ValueError, match="got frechet='fid', expected one of auto"):
        build_features("fid", discriminator)
