"""The base encoder's network: its shapes for every generator, and its latents."""

import pytest
import torch

from facsimile import encoders, stylegan
from facsimile.encoders.base import BaseConfig

GENERATORS = pytest.mark.parametrize(
    "changes",
    [{}, {"side": 64}, {"img_channels": 1}, {"architecture": "stylegan1"}]
    + [{"architecture": "stylegan3"}],
    ids=str,
)


@GENERATORS
def test_every_layer(make_generator, make_encoder, changes):
    """The predicted feature has the shape of the generator's, which can synthesize from it."""
    generator = make_generator(**({"side": 16, "width": 8, "latent": 8} | changes))
    ws = generator.map(torch.randn(2, generator.z_dim))
    images = generator.synthesize(ws)
    for layer in generator.feature_layers:
        encoder = make_encoder("base", generator, layer=layer, rgb_skip="keep")
        expected = generator.synthesize(ws, stop=layer)
        feature = encoder.feature(images)
        assert feature.x.shape == expected.x.shape
        assert (feature.rgb is None) == (expected.rgb is None)
        assert generator.synthesize(ws, start=feature).shape == images.shape


def test_the_photo_has_eight_times_the_side_of_the_feature(make_generator):
    generator = make_generator(64, 8, 8)
    configs = [
        BaseConfig.for_generator(generator, f"b{side}.conv1", 4, "zero") for side in (4, 8, 16, 64)
    ]
    assert [x.side << x.halvings for x in configs] == [32, 64, 64, 64]


@pytest.mark.parametrize("space", ["f/z", "f/z+", "f/w+", "f/s", None])
@pytest.mark.parametrize("rgb_skip", ["zero", "keep"])
def test_latents(generator, targets, make_encoder, space, rgb_skip):
    """All tensors but the feature are those of `stylegan.init_latents`."""
    encoder = make_encoder("base", generator, rgb_skip=rgb_skip)
    latents = encoders.encode(encoder, generator, targets, space, seed=3)
    space = space or "f/z+"
    expected = stylegan.init_latents(generator, space, len(targets), seed=3, rgb_skip=rgb_skip)
    tensors, others = latents.tensors(), expected.tensors()
    assert tensors.keys() == others.keys()
    assert torch.equal(tensors.pop("feature"), encoder(targets))
    assert all(torch.allclose(tensors[name], others[name], atol=1e-6) for name in tensors)
    assert latents.synthesize(generator).shape == targets.shape


def test_a_space_without_a_feature(generator, targets, make_encoder):
    encoder = make_encoder("base", generator)
    with pytest.raises(ValueError, match=r'kind base cannot start "z\+"; take .*f/z\+'):
        encoders.encode(encoder, generator, targets, "z+")
