"""StyleGAN3 generators of both configurations."""

import pytest
import torch


@pytest.fixture(scope="module", params=[False, True], ids=["t", "r"])
def stylegan3_generator(request, make_generator):
    """32 px, of configuration T and of configuration R."""
    return make_generator(
        32, 8, 16, architecture="stylegan3", radial=request.param, conv_clamp=256.0
    )


@pytest.fixture(scope="module")
def stylegan3_ws(stylegan3_generator):
    """(3, L, 16)"""
    source = torch.Generator().manual_seed(3)
    z = torch.randn(3, stylegan3_generator.num_ws, 16, generator=source)
    return stylegan3_generator.map(z)
