"""The base encoder's network: its shapes for every generator, and the latents that it gives."""

import pytest
import torch

from facsimile import encoders, stylegan
from facsimile.encoders.feature import FeatureConfig


@pytest.mark.parametrize(
    "told",
    [{}, {"side": 64}, {"img_channels": 1}, {"architecture": "stylegan1"}]
    + [{"architecture": "stylegan3"}],
    ids=str,
)
def test_every_layer_redraws(make_generator, make_encoder, told):
    """The feature has the shape of the generator's own, and the generator goes on from it."""
    generator = make_generator(**({"side": 16, "width": 8, "latent": 8} | told))
    ws = generator.map(torch.randn(2, generator.z_dim))
    images = generator.synthesize(ws)
    for layer in generator.feature_layers:
        encoder = make_encoder("base", generator, layer=layer, rgb_skip="keep")
        own = generator.synthesize(ws, stop=layer)
        found = encoder.feature(images)
        assert found.x.shape == own.x.shape
        assert (found.rgb is None) == (own.rgb is None)
        assert generator.synthesize(ws, start=found).shape == images.shape


def test_the_photo_has_eight_times_the_side(make_generator):
    generator = make_generator(64, 8, 8)
    found = [FeatureConfig.of(generator, f"b{side}.conv1", 4, "zero") for side in (4, 8, 16, 64)]
    assert [x.side << x.halvings for x in found] == [32, 64, 64, 64]


@pytest.mark.parametrize("space", ["f/z", "f/z+", "f/w+", "f/s", None])
@pytest.mark.parametrize("rgb_skip", ["zero", "keep"])
def test_latents(generator, targets, make_encoder, space, rgb_skip):
    """All but the feature is what `stylegan.start` gives."""
    encoder = make_encoder("base", generator, rgb_skip=rgb_skip)
    found = encoders.encode(encoder, generator, targets, space, seed=3)
    space = space or "f/z+"
    wanted = stylegan.init_latents(generator, space, len(targets), seed=3, rgb_skip=rgb_skip)
    tensors, others = found.tensors(), wanted.tensors()
    assert tensors.keys() == others.keys()
    assert torch.equal(tensors.pop("feature"), encoder(targets))
    assert all(torch.allclose(tensors[name], others[name], atol=1e-6) for name in tensors)
    assert found.draw(generator).shape == targets.shape


def test_a_space_without_a_feature(generator, targets, make_encoder):
    encoder = make_encoder("base", generator)
    with pytest.raises(ValueError, match="take f/z"):
        encoders.encode(encoder, generator, targets, "z+")
