"""Latents with features, and a stand-in for a feature editor."""

import pytest
import torch

from facsimile import stylegan
from facsimile.editing.feature_transport import FeatureTransport

LAYER = "b8.conv1"


@pytest.fixture(scope="session")
def make_latents():
    """make_latents(generator, space, n, seed) -> latents with codes, features and RGB skips of
    their own at LAYER, if the space has any."""

    def made(generator, space, n=1, seed=1, **fields):
        rng = torch.Generator().manual_seed(seed)
        if space.startswith("f/"):
            fields |= {"layer": LAYER}
        latents = stylegan.init_latents(generator, space, n, **fields)
        tensors = {
            name: x + 0.3 * torch.randn(x.shape, generator=rng, dtype=x.dtype)
            for name, x in latents.tensors().items()
        }
        return latents.with_tensors(tensors).retract()

    return made


@pytest.fixture(scope="session")
def transport(generator64, make_toy_encoder):
    """With H(F, delta) = F + 2 delta, which is F where delta is 0, and another F / 10 elsewhere."""

    def edit_feature(x, delta):
        return 1.1 * x + 2 * delta

    return FeatureTransport(LAYER, make_toy_encoder(generator64), edit_feature)
