"""The network that predicts codes level by level, and the blocks that encoders share."""

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F

from facsimile.encoders.blocks import Hourglass, ResidualBlock
from facsimile.encoders.codes_network import CodesConfig, CodesNetwork, style_levels
from facsimile.stylegan.pooling import mean2x2


def make_network(num_ws=8, resolution=16, img_channels=3, w_dim=6, seed=0):
    """In float64, with no weight at its neutral value."""
    stages = resolution.bit_length() - 3
    config = CodesConfig(
        img_channels=img_channels,
        resolution=resolution,
        num_ws=num_ws,
        w_dim=w_dim,
        channels=(8, 16, 24, 24)[:stages],
        level_channels=(3, 2, 4)[: style_levels(num_ws)[-1] + 1],
        hidden=10,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = CodesNetwork(config).double()
        for x in network.state_dict().values():
            x += 0.2 * torch.randn(x.shape)
    return network


def images_for(network, n=2):
    rng = torch.Generator().manual_seed(1)
    side = network.config.resolution
    shape = (n, network.config.img_channels, side, side)
    return torch.rand(shape, generator=rng, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize(
    ("num_ws", "levels"),
    [
        (2, [0, 0]),
        (4, [0, 0, 0, 1]),
        (6, [0, 0, 0, 1, 1, 1]),
        (8, [0, 0, 0, 1, 1, 1, 1, 2]),
        (14, [0] * 3 + [1] * 4 + [2] * 7),
        (18, [0] * 3 + [1] * 4 + [2] * 11),
    ],
)
def test_style_levels(num_ws, levels):
    """pSp's: 0 to 2 are coarse, 3 to 6 middle, the others fine."""
    assert style_levels(num_ws) == levels


@pytest.mark.parametrize("img_channels", [1, 3])
@pytest.mark.parametrize(
    ("num_ws", "resolution"), [(4, 8), (6, 16), (8, 32), (12, 64), (14, 64), (18, 64), (18, 8)]
)
def test_every_size(num_ws, resolution, img_channels):
    """Codes for every style input; every weight takes part; other sides are resized."""
    network = make_network(num_ws, resolution, img_channels)
    images = images_for(network)
    codes = network(images)
    assert codes.shape == (2, num_ws, 6)
    codes.square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in network.parameters())
    larger = F.interpolate(images, scale_factor=2.0, mode="nearest")
    torch.testing.assert_close(network(larger), codes)
    with pytest.raises(ValueError, match=f"takes .N, {img_channels}, R, R. in"):
        network(images.repeat(1, 2, 1, 1))


def test_the_arithmetic_by_hand():
    """From the tensors by their names: trunk, levels, style heads."""
    network = make_network(num_ws=9, resolution=32)
    weights = network.state_dict()
    images = images_for(network)

    def conv(x, name):
        weight = weights[f"{name}.weight"]
        return F.conv2d(x, weight, weights[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def group_norm(x, name):
        groups = x.unflatten(1, (8, -1))
        mean = groups.mean((2, 3, 4), keepdim=True)
        variance = groups.var((2, 3, 4), keepdim=True, unbiased=False)
        x = ((groups - mean) / (variance + 1e-5).sqrt()).flatten(1, 2)
        scale, shift = (weights[f"{name}.{part}"][:, None, None] for part in ("weight", "bias"))
        return x * scale + shift

    def silu(x):
        return x * torch.sigmoid(x)

    def quarter(x):
        corners = (x[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
        return sum(corners) / 4

    # Each 2x2 pixels become channels, those of one colour in a row.
    x = torch.stack([images[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 2).flatten(1, 2)
    maps = []
    for stage in range(3):
        x = conv(quarter(x) if stage else x, f"stages.{stage}.0")
        block = f"stages.{stage}.1"
        y = conv(silu(group_norm(x, f"{block}.norm0")), f"{block}.conv0")
        x = x + conv(silu(group_norm(y, f"{block}.norm1")), f"{block}.conv1")
        maps.append(x)
    hidden = []
    for level in range(3):
        name = f"projections.{level}"
        y = conv(silu(group_norm(maps[2 - level], f"{name}.0")), f"{name}.2")
        for _ in range(level):
            y = quarter(y)
        assert y.shape[2:] == (4, 4)
        name = f"dense.{level}"
        hidden.append(y.flatten(1) @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])
    codes = []
    for index, level in enumerate([0, 0, 0, 1, 1, 1, 1, 2, 2]):
        y = hidden[level] + (hidden[0] if level else 0)
        y = (y - y.mean(1, keepdim=True)) / (y.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        y = silu(y * weights[f"norms.{level}.weight"] + weights[f"norms.{level}.bias"])
        codes.append(y @ weights["heads"][index] + weights["offset"][index])
    expected = torch.stack(codes, 1)
    torch.testing.assert_close(network.normalized(images), expected, rtol=1e-9, atol=1e-9)
    expected = weights["mean"] + weights["scale"] * expected
    torch.testing.assert_close(network(images), expected, rtol=1e-9, atol=1e-9)


def test_what_a_level_influences():
    """The coarse level's features go to all codes; those of the others to their own codes."""
    network, changed = make_network(num_ws=9, resolution=32), []
    images = images_for(network)
    before = network(images)
    for level in range(3):
        bias = network.dense[level].bias.data
        bias += torch.arange(len(bias))
        moved = (network(images) - before).abs().amax((0, 2)) > 1e-9
        changed.append(moved.tolist())
        bias -= torch.arange(len(bias))
    levels = style_levels(9)
    assert changed[0] == [True] * 9
    assert changed[1:] == [[x == level for x in levels] for level in (1, 2)]


def test_eight_images_are_eight_single_ones():
    network = make_network()
    images = images_for(network, 8)
    alone = torch.cat([network(image[None]) for image in images])
    assert (network(images) - alone).abs().max() < 1e-12


def test_codes_are_counted_from_the_mean(make_generator):
    """A new network begins within a fifth of a standard deviation of the mean code."""
    generator = make_generator(16, 8, 8).double()
    network = CodesNetwork(CodesConfig.for_generator(generator, 8)).double()
    ws = generator.map(torch.randn(2000, generator.z_dim, dtype=torch.float64))
    network.init_normalization(generator, ws)
    assert (network.mean - ws.mean(0)).abs().max() < 0.2 * ws.std()
    torch.testing.assert_close(network.scale, ws.std(0))
    images = images_for(network)
    codes = network.normalized(images)
    assert 0 < codes.square().mean().sqrt() < 0.2
    torch.testing.assert_close(network(images), network.denormalize(codes))
    torch.testing.assert_close(network.normalize(network(images)), codes)


def test_sizes_follow_the_width(make_generator):
    """At 128 px and a width of 48 those of the bundled encoders; all multiples of 8."""
    generator = make_generator(128, 4, 4)
    config = CodesConfig.for_generator(generator, 48)
    assert config.channels == (48, 96, 128, 160, 160)
    assert (config.level_channels, config.hidden) == ((80, 64, 64), 192)
    assert CodesConfig.for_generator(generator, 48, 32).channels == (48, 96, 128)
    config = CodesConfig.for_generator(generator, 3)
    assert config.channels == (8, 8, 8, 16, 16)
    again = CodesConfig(**json.loads(json.dumps(dataclasses.asdict(config))))
    assert again == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 4}, "resolution is 4; it must be a power of two, at least 8"),
        ({"resolution": 32}, "got channels of 2 stages and 3 levels; .* 32 px .* has 3 stages"),
        ({"num_ws": 6}, "2 stages and 3 levels; .* 6 style inputs has 2 stages and 2 levels"),
        ({"channels": (8, 12)}, r"channels are \(8, 12\); they must be multiples of 8"),
    ],
)
def test_impossible_sizes(changes, message):
    sizes = {"img_channels": 3, "resolution": 16, "num_ws": 8, "w_dim": 4, "hidden": 8}
    sizes |= {"channels": (8, 16), "level_channels": (8, 8, 8)}
    with pytest.raises(ValueError, match=message):
        CodesConfig(**(sizes | changes))


# The blocks ---------------------------------------------------------------------------------------


def test_new_blocks_change_nothing():
    x = torch.randn(2, 8, 6, 6)
    assert torch.equal(ResidualBlock(8)(x), x)
    hourglass = Hourglass(8, 16, (1, 2, 1))
    assert torch.equal(hourglass(x), x)
    torch.nn.init.normal_(hourglass.up.weight)
    assert (hourglass(x) - x).abs().max() > 0.1


def test_the_inner_path_of_an_hourglass():
    """Without outer blocks: half the side, and back by repetition."""
    hourglass = Hourglass(8, 16, (0, 0, 0))
    torch.nn.init.normal_(hourglass.up.weight)
    x = torch.randn(2, 8, 6, 4)
    inner = hourglass.up(hourglass.down(mean2x2(x)))
    repeated = inner.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(hourglass(x), x + repeated)
    assert [len(part) for part in (hourglass.before, hourglass.inner, hourglass.after)] == [0] * 3


def test_the_mean_of_2x2_pixels():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert mean2x2(x).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
