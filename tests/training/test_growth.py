"""Networks that begin with another's layers."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from facsimile.stylegan import freeze
from facsimile.stylegan.layers import resample_filter, upsample
from facsimile.training import Distributed, EmaSettings, ImageSettings, growth
from facsimile.training.generator import GeneratorRecipe
from facsimile.training.generator_settings import (
    GeneratorSettings,
    NetworkSettings,
    check_resolution,
)


@pytest.fixture
def pair(make_generator, make_discriminator):
    return make_generator(16, 8, 8), make_discriminator(16, 8)


def grow(pair, side=32, channel_base=None, channel_max=None):
    return growth.grow_from(*pair, side, channel_base=channel_base, channel_max=channel_max, seed=0)


@torch.no_grad()
def test_alpha_0_is_the_old_pair_exactly(pair):
    generator, critic = grow(pair)
    freeze(generator)  # in training, sums are taken in another order
    source = torch.Generator().manual_seed(1)
    z = torch.randn(4, 8, generator=source)
    ws, old_ws = generator.map(z), pair[0].map(z)
    faded = growth.synthesize_faded(generator, ws, "const", alpha=0.0)
    old = pair[0].synthesize(old_ws)
    assert torch.equal(faded, upsample(old, resample_filter()))
    image = torch.randn(4, 3, 32, 32, generator=source)
    torch.testing.assert_close(critic(image, 0.0), pair[1](F.avg_pool2d(image, 2)))


@torch.no_grad()
def test_alpha_1_is_the_whole_network(pair):
    generator, critic = grow(pair)
    ws = generator.map(torch.randn(2, 8))
    whole = generator.synthesize(ws)
    assert torch.equal(growth.synthesize_faded(generator, ws, "const", alpha=1.0), whole)
    torch.testing.assert_close(
        growth.synthesize_faded(generator, ws, "const", alpha=1 - 1e-7), whole
    )
    image = torch.randn(4, 3, 32, 32)
    assert torch.equal(critic(image, 1.0), critic.network(image))
    torch.testing.assert_close(critic(image, 1 - 1e-7), critic.network(image))


@torch.no_grad()
def test_a_baked_fade_is_the_faded_generator(pair):
    generator, _ = grow(pair)
    ws = generator.map(torch.randn(2, 8))
    faded = growth.synthesize_faded(generator, ws, "const", alpha=0.3)
    torch.testing.assert_close(growth.bake_fade(generator, 0.3).synthesize(ws), faded)


def test_the_same_side_is_a_copy(pair):
    generator, critic = grow(pair, 16)
    assert all(torch.equal(x, generator.state_dict()[k]) for k, x in pair[0].state_dict().items())
    assert critic.old is None
    assert all(x.requires_grad for x in (*generator.parameters(), *critic.parameters()))


def test_growing_may_narrow(pair):
    generator, critic = grow(pair, channel_base=128, channel_max=8)
    assert generator.config["channels"] == [8, 8, 8, 4]
    assert critic.network.config.channels == (8, 8, 8, 4)


@pytest.mark.parametrize(
    ("side", "channels", "message"),
    [
        (
            64,
            {},
            "--init-from makes images of 16 px, .* is 64; continue at 16, or grow to 32",
        ),
        (32, {"channel_base": 1024, "channel_max": 64}, "leave both out"),
    ],
)
def test_sizes_that_do_not_fit(pair, side, channels, message):
    with pytest.raises(ValueError, match=message):
        grow(pair, side, **channels)


def test_channels_of_the_releases():
    assert growth.channel_schedule(256, 16384, 512) == (512, 512, 512, 512, 256, 128, 64)
    assert growth.channel_schedule(128, 4096, 128) == (128, 128, 128, 128, 64, 32)


@pytest.mark.parametrize("side", [0, 4, 48, 100])
def test_sides_are_powers_of_two(side):
    with pytest.raises(ValueError, match=f"--resolution is {side}; it must be a power of two"):
        check_resolution(side)


def test_labels_are_not_trained(make_generator):
    with pytest.raises(ValueError, match="2 labels; only StyleGAN2 of RGB without labels"):
        grow((make_generator(16, 8, 8, c_dim=2), None))


def test_the_average_of_a_trained_pair_need_not_forget(tmp_path, pair):
    def rampup(ema_rampup=None, **sizes):
        settings = GeneratorSettings(
            out=tmp_path,
            images=1,
            dataset=ImageSettings(data=("x",)),
            network=NetworkSettings(**sizes),
            ema=EmaSettings(ema_images=10_000, ema_rampup=ema_rampup),
        )
        networks = SimpleNamespace(generator=pair[0], discriminator=pair[1])
        device = torch.device("cpu")
        distributed = Distributed(device=device, load_networks=lambda name: networks)
        return GeneratorRecipe(settings, distributed).ema_rampup

    assert rampup(resolution=16, init_from="trained") == 0
    assert rampup(resolution=32, init_from="trained") == 0.05  # a new block begins at random
    assert rampup(resolution=16, channel_base=64, z_dim=8) == 0.05
    assert rampup(0.2, resolution=16, init_from="trained") == 0.2
