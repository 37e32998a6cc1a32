"""Oracles: exact identities of one network run in different ways, and sizes by formula."""

import re
from math import log2

import pytest
import torch

from facsimile.stylegan import Feature
from facsimile.stylegan.mapping import mean_w
from facsimile.stylegan.randomness import keyed_generator

LAYERS = ("b4.conv1",) + tuple(f"b{side}.conv{i}" for side in (8, 16, 32) for i in (0, 1))


@pytest.fixture
def ws(generator):
    z = torch.randn(
        3, generator.num_ws, generator.z_dim, generator=torch.Generator().manual_seed(0)
    )
    return generator.map(z)


# Sizes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [32, 64, 128, 256, 512, 1024])
def test_sizes_of_every_side(make_generator, side):
    levels = int(log2(side)) - 1
    channels = [2 + index % 3 for index in range(levels)]
    generator = make_generator(side, latent=4, channels=channels)
    assert generator.num_ws == 2 * log2(side) - 2
    maps = generator.noise_maps(2)
    sides = [4] + [4 * 2**index for index in range(1, levels) for _ in range(2)]
    assert len(maps) == 2 * log2(side) - 3
    assert [tuple(m.shape) for m in maps] == [(2, 1, s, s) for s in sides]
    styles = [channels[0]] * 2
    for before, outputs in zip(channels, channels[1:], strict=False):
        styles += [before, outputs, outputs]
    assert generator.style_sizes == tuple(styles)
    image = generator.synthesize(generator.map(torch.randn(1, 4)))
    assert image.shape == (1, 3, side, side)
    assert image.isfinite().all()


@pytest.mark.parametrize("img_channels", [1, 4])
def test_any_number_of_channels(make_generator, img_channels):
    generator = make_generator(img_channels=img_channels)
    image = generator.synthesize(generator.map(torch.randn(2, 32)))
    assert image.shape == (2, img_channels, 32, 32)


def test_which_input_acts_where(generator):
    """Table 3.1 of the original's layout: conv0 of side 2^b reads input 2b - 5, conv1 2b - 4."""
    assert generator.feature_layers == LAYERS
    assert [generator.first_ws_index(layer) for layer in LAYERS] == [1, 2, 3, 4, 5, 6, 7]
    read = {layer.name: layer.style for layer in generator.synthesis.layers}
    for side in (8, 16, 32):
        b = int(log2(side))
        indices = [read[f"b{side}.{name}"] for name in ("conv0", "conv1", "torgb")]
        assert indices == [2 * b - 5, 2 * b - 4, 2 * b - 3]


@pytest.mark.parametrize(
    ("side", "layer"), [(32, "b4.conv1"), (64, "b8.conv0"), (512, "b16.conv0")]
)
def test_default_feature_layer(make_generator, side, layer):
    generator = make_generator(side, 2, 4)
    assert generator.default_feature_layer() == layer


def test_labels(make_generator):
    generator = make_generator(c_dim=3)
    z = torch.randn(2, 32)
    one, other = (generator.map(z, torch.eye(3)[[i, i]]) for i in (0, 1))
    assert (one - other).abs().max() > 1e-3
    with pytest.raises(ValueError, match="needs a label of length 3, got none; pass c of the"):
        generator.map(z)


# Mapping ------------------------------------------------------------------------------------------


def test_psi(generator):
    z = torch.randn(3, 32)
    ws = generator.map(z)
    assert torch.equal(generator.map(z, truncation_psi=1.0), ws)
    images = generator.synthesize(generator.map(z, truncation_psi=0.0))
    assert torch.equal(images[0], images[1])
    assert (images[0] - generator.synthesize(ws)[0]).abs().max() > 0.1
    average = generator.mapping.w_avg
    some = generator.map(z, truncation_psi=0.3, truncation_cutoff=2)
    torch.testing.assert_close(some[:, :2], average + 0.3 * (ws[:, :2] - average))
    assert torch.equal(some[:, 2:], ws[:, 2:])
    assert torch.equal(generator.map(z, truncation_psi=0.3, truncation_cutoff=0), ws)


def test_mapping_takes_no_other_z(generator):
    expected = r"z has the shape \(2, 31\); expected \(N, 32\) or \(N, 8, 32\)"
    with pytest.raises(ValueError, match=expected):
        generator.map(torch.zeros(2, 31))


def test_length_of_z_does_not_count(generator64):
    z = torch.randn(3, 32, dtype=torch.float64)
    torch.testing.assert_close(generator64.map(z), generator64.map(5 * z))


# Synthesis ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", ["const", "none", "maps"])
@pytest.mark.parametrize("layer", LAYERS)
def test_stop_then_start_is_the_whole(generator, ws, layer, noise):
    if noise == "maps":
        noise = [torch.randn_like(m) for m in generator.noise_maps(3)]
    feature = generator.synthesize(ws, noise, stop=layer)
    assert feature.layer == layer
    side = int(re.findall(r"\d+", layer)[0])
    assert feature.x.shape == (3, 16, side, side)
    whole = generator.synthesize(ws, noise)
    assert torch.equal(generator.synthesize(ws, noise, start=feature), whole)


@pytest.mark.parametrize("layer", LAYERS[1:])
def test_without_the_image_so_far(generator, ws, layer):
    """Style inputs before M have exactly no effect, and the picture is another one."""
    feature = generator.synthesize(ws, stop=layer)
    zero = generator.synthesize(ws, start=feature, rgb_skip="zero")
    assert (zero - generator.synthesize(ws)).abs().mean() > 0.02
    first = generator.first_ws_index(layer)
    others = ws.clone()
    others[:, :first] = 7.0
    assert torch.equal(generator.synthesize(others, start=feature, rgb_skip="zero"), zero)
    # The skip is a Feature's own: what comes before is not run again with "keep" either.
    assert torch.equal(generator.synthesize(others, start=feature), generator.synthesize(ws))
    others[:, first] += 1.0
    assert not torch.equal(generator.synthesize(others, start=feature, rgb_skip="zero"), zero)


def test_stop_after_start(generator, ws):
    early = generator.synthesize(ws, stop="b8.conv0")
    late = generator.synthesize(ws, start=early, stop="b16.conv1")
    straight = generator.synthesize(ws, stop="b16.conv1")
    assert torch.equal(late.x, straight.x)
    assert torch.equal(late.rgb, straight.rgb)


@pytest.mark.parametrize("stop", ["b4.conv1", "b8.conv0"])
def test_no_stop_before_the_start(generator, ws, stop):
    feature = generator.synthesize(ws, stop="b8.conv0")
    with pytest.raises(ValueError, match=f'"{stop}".*after "b8.conv0"'):
        generator.synthesize(ws, start=feature, stop=stop)


def test_the_feature_matters(generator, ws):
    feature = generator.synthesize(ws, stop="b8.conv0")
    other = feature._replace(x=feature.x.roll(1, 0))
    assert not torch.equal(generator.synthesize(ws, start=other), generator.synthesize(ws))


def test_styles_draw_what_ws_draw(generator, ws):
    styles = generator.styles(ws)
    assert tuple(s.shape[1] for s in styles) == generator.style_sizes
    assert torch.equal(generator.synthesize(styles), generator.synthesize(ws))
    feature = generator.synthesize(styles, stop="b16.conv0")
    assert torch.equal(generator.synthesize(styles, start=feature), generator.synthesize(ws))


def test_images_do_not_depend_on_the_batch(generator64, ws):
    ws = ws.double()
    singles = torch.cat([generator64.synthesize(w[None]) for w in ws])
    torch.testing.assert_close(generator64.synthesize(ws), singles, atol=1e-12, rtol=0)


def test_explicit_constant_noise(generator, ws):
    whole = generator.synthesize(ws, "const")
    for n in (1, 3):
        maps = generator.noise_maps(n)
        torch.testing.assert_close(generator.synthesize(ws, maps), whole, atol=1e-5, rtol=0)


def test_no_noise(generator, ws):
    zeros = [torch.zeros_like(m) for m in generator.noise_maps(1)]
    none = generator.synthesize(ws, "none")
    torch.testing.assert_close(none, generator.synthesize(ws, zeros), atol=1e-5, rtol=0)
    assert torch.equal(none, generator.synthesize(ws, None))
    assert (none - generator.synthesize(ws)).abs().mean() > 0.01


def test_every_image_has_its_own_noise(generator64, ws):
    ws = ws.double()[:1].expand(3, -1, -1)
    maps = [torch.randn_like(m) for m in generator64.noise_maps(3)]
    images = generator64.synthesize(ws, maps)
    alone = generator64.synthesize(ws[1:2], [m[1:2] for m in maps])
    torch.testing.assert_close(images[1:2], alone, atol=1e-12, rtol=0)
    assert (images[0] - images[1]).abs().mean() > 0.01


def test_random_noise_comes_from_the_source(generator, ws):
    def draw(seed):
        source = torch.Generator().manual_seed(seed)
        return generator.synthesize(ws, "random", generator=source)

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert not torch.equal(draw(0), generator.synthesize(ws))
    same = ws[:1].expand(2, -1, -1)
    one, other = generator.synthesize(same, "random", generator=torch.Generator().manual_seed(0))
    assert not torch.equal(one, other)


def test_noise_maps_are_copies(generator, ws):
    before = generator.synthesize(ws)
    for m in generator.noise_maps(1):
        m.zero_()
    assert torch.equal(generator.synthesize(ws), before)


def test_strengths_scale_the_noise(generator):
    strengths = [
        layer.module.noise_strength.item()
        for layer in generator.synthesis.layers
        if layer.noise is not None
    ]
    assert generator.noise_strengths == pytest.approx(strengths)


def test_clamp(make_generator, ws):
    plain, clamped = make_generator(), make_generator(conv_clamp=0.5)
    x = clamped.synthesize(ws, stop="b8.conv1").x
    assert x.abs().max() == 0.5
    assert plain.synthesize(ws, stop="b8.conv1").x.abs().max() > 0.6


def test_arguments_that_do_not_fit(generator, ws):
    with pytest.raises(ValueError, match="got 3 noise maps, this generator has 7 noise inputs"):
        generator.synthesize(ws, generator.noise_maps(1)[:3])
    with pytest.raises(
        ValueError, match='noise is "constant"; it must be "const", "random", "none"'
    ):
        generator.synthesize(ws, "constant")
    with pytest.raises(ValueError, match='no layer "b64.conv0"; choose one of b4.conv1, b8.conv0'):
        generator.synthesize(ws, stop="b64.conv0")
    with pytest.raises(ValueError, match='no layer "b16.torgb"'):
        generator.synthesize(ws, start=Feature("b16.torgb", torch.zeros(3, 16, 16, 16), None))
    feature = generator.synthesize(ws, stop="b8.conv0")
    with pytest.raises(ValueError, match='rgb_skip is "drop"; it must be "keep" or "zero"'):
        generator.synthesize(ws, start=feature, rgb_skip="drop")
    with pytest.raises(ValueError, match=r"ws has the shape \(3, 7, 32\); expected \(N, 8, 32\)"):
        generator.synthesize(ws[:, 1:])


@pytest.mark.parametrize("options", [{}, {"c_dim": 2}, {"w_per_layer": True}])
def test_mean_w(make_generator, options):
    """The mean of codes that are drawn and mapped here."""
    architecture = "stylegan1" if "w_per_layer" in options else "stylegan2"
    mapping = make_generator(8, 4, 8, architecture=architecture, **options).mapping
    c = torch.tensor([0.0, 1.0]) if mapping.c_dim else None
    z = torch.randn(500, 8, generator=keyed_generator("cpu", 3, "mean w"))
    expected = mapping(z, None if c is None else c.expand(500, 2)).mean(0)
    assert torch.equal(mean_w(mapping, c, seed=3, samples=500), expected)
    assert (mean_w(mapping, c, seed=4, samples=500) - expected).abs().max() > 1e-3
