"""Oracles: arrays of another implementation, plain operations one by one, finite differences."""

import re
from math import log2, sqrt

import pytest
import torch
import torch.nn.functional as F
from differences import check_second_derivatives, few
from test_golden import close, golden
from torch.autograd import gradcheck

from facsimile.stylegan import Feature, Generator, freeze, spaces
from facsimile.stylegan.stylegan1 import Conv, restyle

LAYERS = tuple(f"layer{i}" for i in range(8))
NAMES = (
    (r"^mapping\.dense", "mapping.fc"),
    (r"^truncation\.", "mapping."),
    (r"\.style\.", ".affine."),
    (r"\.apply_noise\.weight$", ".noise_strength"),
    (r"\.apply_noise\.noise$", ".noise_const"),
)


def translated(config, state):
    """(config, tensors) under our names of a StyleGAN1 under genforce's."""
    last = max(int(found[1]) for k in state if (found := re.search(r"output(\d+)", k)))
    tensors = {}
    for name, x in state.items():
        for theirs, ours in ((rf"output{last}\.", "torgb."), *NAMES):
            name = re.sub(theirs, ours, name)
        if re.search(r"\.(output\d+\.\w+|lod|kernel)$", name):
            continue  # of progressive growing; or the blur, which is always the same
        if name.endswith("const"):
            x = x[0, 0] if name.endswith("noise_const") else x[0]
        if re.match(r"mapping\.fc\d\.bias", name):
            x = x / sqrt(2)  # the gain behind the activation is theirs before the bias
        tensors[name] = x
    config = {
        "architecture": "stylegan1",
        "z_dim": config["z_space_dim"],
        "c_dim": 0,
        "w_dim": config["w_space_dim"],
        "img_resolution": config["resolution"],
        "img_channels": 3,
        "mapping_layers": config["mapping_layers"],
        "channels": [len(tensors[f"synthesis.layer{2 * b}.bias"]) for b in range(last + 1)],
        "fused_from": 128,
    }
    return config, tensors


@pytest.fixture(params=["stylegan1_genforce_generator", "stylegan1_genforce_128_generator"])
def release(request):
    """(generator, arrays)"""
    config, state, arrays = golden(request.param)
    config, tensors = translated(config, state)
    generator = Generator(config)
    generator.load_state_dict(tensors)
    return freeze(generator), arrays


@pytest.fixture(scope="module")
def generator(make_generator):
    return make_generator(architecture="stylegan1")


@pytest.fixture(scope="module")
def ws(generator):
    z = torch.randn(3, 8, 32, generator=torch.Generator().manual_seed(0))
    return generator.map(z)


@pytest.fixture(scope="module")
def small(make_generator):
    """16 px and float64, of which the last block is fused."""
    generator = make_generator(16, 3, 4, architecture="stylegan1", fused_from=16).double()
    z = torch.randn(2, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return generator, generator.map(z)


# The original -------------------------------------------------------------------------------------


def test_golden(release):
    """At 128 px the last block is the fused one."""
    generator, arrays = release
    assert (generator.num_ws, generator.w_dim) == arrays["w_plus"].shape[1:]
    z_plus_of_one = arrays["w"][:, None].expand(-1, generator.num_ws, -1)
    close(generator.map(arrays["z"]), z_plus_of_one)
    close(generator.synthesize(arrays["w_plus"]), arrays["image_w_plus"])


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_up_convolution_in_plain_operations(fused, noise):
    conv = Conv(3, 5, 4, 12, up=True, fused=fused).double()
    with torch.no_grad():
        conv.bias.normal_()
        conv.noise_strength.normal_()
    x, style = torch.randn(2, 3, 6, 6).double(), torch.randn(2, 6).double()
    maps = torch.randn(2, 1, 12, 12).double() if noise else None
    y = F.instance_norm(x, eps=1e-8)
    y = y * (style[:, :3, None, None] + 1) + style[:, 3:, None, None]
    # The fused kernel is scattered, and so turned over.
    weight = conv.weight.flip(2, 3) if fused else conv.weight
    y = F.conv2d(F.interpolate(y, scale_factor=2), weight * sqrt(2 / 27), padding=1)
    kernel = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]).double() / 16
    y = F.conv2d(y, kernel.expand(5, 1, 3, 3), padding=1, groups=5)
    y = y + conv.bias[:, None, None]
    if noise:
        y = y + maps * conv.noise_strength[:, None, None]
    torch.testing.assert_close(conv(x, style, maps), F.leaky_relu(y, 0.2))


def test_a_channel_that_hardly_varies():
    """Of mean 10 and deviation 0.01 in float32: E[x^2] - E[x]^2 would be off by several percent."""
    x, style = 10 + 0.01 * torch.randn(2, 3, 16, 16), torch.randn(2, 6)
    expected = restyle(x.double(), style.double())
    torch.testing.assert_close(restyle(x, style).double(), expected, atol=1e-3, rtol=0)


# Sizes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [32, 64, 128, 256, 512, 1024])
def test_sizes_of_every_side(make_generator, side):
    levels = int(log2(side)) - 1
    channels = [2 + index % 3 for index in range(levels)]
    generator = make_generator(side, latent=4, channels=channels, architecture="stylegan1")
    assert generator.num_ws == 2 * log2(side) - 2
    sides = [4 * 2**index for index in range(levels) for _ in range(2)]
    assert [tuple(m.shape) for m in generator.noise_maps(2)] == [(2, 1, s, s) for s in sides]
    assert generator.style_sizes == (0, *(2 * width for width in channels for _ in range(2)))
    assert len(generator.noise_strengths) == len(sides)
    image = generator.synthesize(generator.map(torch.randn(1, 4)))
    assert image.shape == (1, 3, side, side)
    assert image.isfinite().all()


def test_which_input_acts_where(generator):
    """BDInvert's F is x04 at 16 px, and style input 4 acts on it."""
    assert generator.feature_layers == LAYERS
    assert [generator.first_ws_index(layer) for layer in LAYERS] == list(range(8))
    sides = [layer.resolution for layer in generator.synthesis.layers]
    assert sides == [4, 4, 8, 8, 16, 16, 32, 32, 32]


@pytest.mark.parametrize(("side", "layer"), [(32, "layer0"), (64, "layer2"), (256, "layer4")])
def test_default_feature_layer(make_generator, side, layer):
    generator = make_generator(side, 2, 4, architecture="stylegan1")
    assert generator.default_feature_layer() == layer


def test_noise_strengths_are_those_of_the_channels(generator):
    per_channel = generator.synthesis.layer3.noise_strength
    assert per_channel.shape == (16,)
    expected = sqrt(sum(x**2 for x in per_channel.tolist()) / 16)
    assert generator.noise_strengths[3] == pytest.approx(expected)


def test_unknown_architectures(generator):
    config = generator.config | {"architecture": "progan"}
    with pytest.raises(ValueError, match='architecture "progan"; expected one of stylegan1, '):
        Generator(config)


# One network, run in different ways ---------------------------------------------------------------


@pytest.mark.parametrize("noise", ["const", "none", "maps"])
@pytest.mark.parametrize("layer", LAYERS)
def test_stop_then_start_is_the_whole(generator, ws, layer, noise):
    if noise == "maps":
        noise = [torch.randn_like(m) for m in generator.noise_maps(3)]
    feature = generator.synthesize(ws, noise, stop=layer)
    assert feature.rgb is None
    whole = generator.synthesize(ws, noise)
    assert torch.equal(generator.synthesize(ws, noise, start=feature), whole)
    assert torch.equal(generator.synthesize(ws, noise, start=feature, rgb_skip="zero"), whole)
    # The style of a layer acts after it: on its feature, and not in it.
    first = generator.first_ws_index(layer)
    others = ws.clone()
    others[:, first:] += 1.0
    assert torch.equal(generator.synthesize(others, noise, stop=layer).x, feature.x)
    others = ws.clone()
    others[:, :first] += 1.0
    assert torch.equal(generator.synthesize(others, noise, start=feature), whole)
    others[:, first] += 1.0
    assert not torch.equal(generator.synthesize(others, noise, start=feature), whole)


def test_styles_draw_what_ws_draw(generator, ws):
    styles = generator.styles(ws)
    assert tuple(s.shape[1] for s in styles) == generator.style_sizes
    assert torch.equal(generator.synthesize(styles), generator.synthesize(ws))
    code = torch.cat(styles, 1)
    decoded = spaces.SPACES["s"].decode(generator, code)
    assert torch.equal(generator.synthesize(decoded), generator.synthesize(ws))


def test_images_do_not_depend_on_the_batch(small):
    generator, ws = small
    maps = [torch.randn_like(m) for m in generator.noise_maps(2)]
    whole = generator.synthesize(ws, maps)
    for i in (0, 1):
        alone = generator.synthesize(ws[[i]], [m[[i]] for m in maps])
        torch.testing.assert_close(whole[[i]], alone, atol=1e-12, rtol=0)
    shared = [m[:1] for m in maps]
    each = [m.expand(2, -1, -1, -1).clone() for m in shared]
    torch.testing.assert_close(
        generator.synthesize(ws, shared), generator.synthesize(ws, each), atol=1e-12, rtol=0
    )


def test_other_weights_are_other_kernels(make_generator):
    """What is kept of a frozen weight is made anew when the weight changes."""
    generator = make_generator(8, 3, 4, architecture="stylegan1")
    ws = generator.map(torch.randn(1, 4))
    before = generator.synthesize(ws)
    state = {k: v.clone() for k, v in generator.state_dict().items()}
    state["synthesis.layer2.weight"] *= -1
    generator.load_state_dict(state)
    after = generator.synthesize(ws)
    fresh = Generator(generator.config)
    fresh.load_state_dict(state)
    torch.testing.assert_close(after, fresh.synthesize(ws))
    assert (after - before).abs().max() > 0.01


# Gradients ----------------------------------------------------------------------------------------


def test_gradient_of_the_code(small):
    generator, ws = small
    code = ws[:1].clone().requires_grad_()
    assert gradcheck(lambda w: few(generator.synthesize(w)), code)
    (gradient,) = torch.autograd.grad(generator.synthesize(code).square().sum(), code)
    assert (gradient.abs().sum((0, 2)) > 0).all()


@pytest.mark.parametrize("layer", ["layer0", "layer1", "layer2", "layer5"])
def test_gradient_of_a_feature(small, layer):
    generator, ws = small
    x = generator.synthesize(ws, stop=layer).x.clone().requires_grad_()
    assert gradcheck(
        lambda x: few(generator.synthesize(ws, start=Feature(layer, x, None))), x, fast_mode=True
    )


def test_gradient_of_the_noise(small):
    generator, ws = small
    maps = [m.requires_grad_() for m in generator.noise_maps(2)]
    assert gradcheck(lambda *m: few(generator.synthesize(ws, m)), maps, fast_mode=True)
    gradients = torch.autograd.grad(generator.synthesize(ws, maps).square().sum(), maps)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize("name", ["layer1.weight", "layer2.weight", "layer4.noise_strength"])
def test_gradient_of_a_weight(make_generator, name):
    """Training a generator: what is kept of a frozen weight is then part of the graph."""
    generator = make_generator(16, 3, 4, architecture="stylegan1", fused_from=16).double()
    ws = generator.map(torch.randn(2, 4).double())
    weight = generator.synthesis.get_parameter(name).requires_grad_()
    (gradient,) = torch.autograd.grad(generator.synthesize(ws).square().sum(), weight)
    direction = torch.randn_like(weight)
    values = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            weight += step * direction
            values.append(generator.synthesize(ws).square().sum().item())
    slope = (values[0] - values[1]) / 2e-6
    assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-4)


def test_second_derivatives(small):
    check_second_derivatives(*small)
