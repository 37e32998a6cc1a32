"""Oracles: NVIDIA's arrays, plain operations one by one, motions of the picture, differences."""

import copy
import math
import re

import pytest
import torch
import torch.nn.functional as F
from differences import check_second_derivatives, few
from test_golden import golden
from torch.autograd import gradcheck

from facsimile import stylegan
from facsimile.stylegan import Feature, Generator, Latents, files, freeze, spaces, stylegan3
from facsimile.stylegan.alias_free import Sampling, levels, low_pass, resampling
from facsimile.stylegan.generator import fingerprint
from facsimile.stylegan.stylegan3 import Conv, ScaledToRGB, downsample, make_placement, upsample

RELEASE = {
    "num_layers": 14,
    "num_critical": 2,
    "first_cutoff": 2,
    "first_stopband": 2**2.1,
    "last_stopband_rel": 2**0.3,
    "margin_size": 10,
    "filter_size": 6,
    "lrelu_upsampling": 2,
    "conv_kernel": 3,
    "use_radial_filters": False,
}
# Of finite differences: so short that hardly any of 1e5 leaky ReLUs changes its side.
STEP = 1e-8
LAYERS = ("L0", "L1", "L2", "L3")


def close(got, expected, atol=1e-5):
    torch.testing.assert_close(got, expected, atol=atol, rtol=0)


@pytest.fixture(scope="module", params=["t", "r"])
def known(request):
    """(configuration, tensors under our names, arrays)"""
    config, state, arrays = golden(f"stylegan3_{request.param}_generator")
    tensors = {
        re.sub(r"^synthesis\.(L\d+)_\d+_\d+\.", r"synthesis.\1.", name): x
        for name, x in state.items()
    }
    channels = [
        len(tensors[f"synthesis.L{index}.weight"]) for index in range(config["num_layers"] + 1)
    ]
    own = {"architecture": "stylegan3", "mapping_layers": 2, "output_scale": 0.25}
    return RELEASE | config | own | {"channels": channels}, tensors, arrays


@pytest.fixture(scope="module", params=[False, True], ids=["t", "r"])
def generator(request, make_generator):
    return make_generator(
        32, 8, 16, architecture="stylegan3", radial=request.param, conv_clamp=256.0
    )


@pytest.fixture(scope="module")
def ws(generator):
    source = torch.Generator().manual_seed(3)
    return generator.map(torch.randn(3, generator.num_ws, 16, generator=source))


# NVIDIA's numbers ---------------------------------------------------------------------------------


def test_images(known):
    config, tensors, arrays = known
    generator = Generator(config)
    generator.load_state_dict(tensors)
    freeze(generator)
    assert generator.num_ws == config["num_layers"] + 2
    close(generator.map(arrays["z"]), arrays["ws"])
    close(generator.synthesize(arrays["ws"]), arrays["image"])
    close(generator.synthesize(arrays["w_plus"]), arrays["image_w_plus"])


def test_designed_filters_are_those_of_the_release(known):
    config, tensors, _ = known
    own = Generator(config).state_dict()
    assert own.keys() == tensors.keys()
    filters = [name for name in own if name.endswith("_filter")]
    assert len(filters) == 2 * config["num_layers"]
    for name in filters:
        close(own[name], tensors[name], 1e-7)
    radial = {own[name].ndim for name in filters if name.endswith("down_filter")}
    assert radial == ({1, 2} if config["use_radial_filters"] else {1})


def test_saved_and_loaded(known, tmp_path):
    config, tensors, arrays = known
    path = tmp_path / "generator.safetensors"
    files.write(path, "generator", config, tensors)
    generator = stylegan.load(path)
    close(generator.synthesize(arrays["w_plus"]), arrays["image_w_plus"])
    stylegan.save(generator, path)
    assert stylegan.load(path).fingerprint == generator.fingerprint


# Sampling rates and filters -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "sizes"),
    [
        (1024, [36] * 2 + [52] * 2 + [84] + [148] * 2 + [276] * 2 + [532] + [1044] * 3),
        (256, [36] * 3 + [52] * 2 + [84] * 2 + [148] * 3 + [276] * 3),
    ],
)
def test_sizes_of_the_releases(side, sizes):
    sampling = Sampling(img_resolution=side, **RELEASE)
    found = levels(sampling)
    assert [level.size for level in found] == [*sizes, side, side]
    assert [level.rate for level in found] == [*(size - 20 for size in sizes), side, side]
    assert found[0].cutoff == 2
    assert found[-1].cutoff == side / 2
    # Every layer goes to twice the higher of its two rates.
    before, padding = found[0], {}
    for index, level in enumerate(found[:-1]):
        way = resampling(sampling, index)
        assert (way.up, way.down) == (2 * level.rate // before.rate, 2)
        assert (len(way.up_filter), len(way.down_filter)) == (6 * way.up, 12)
        padding.setdefault((way.up, level.size == side), way.padding)
        before = level
    assert padding == {(2, False): (9, 8), (4, False): (-6, -9), (2, True): (-11, -12)}


def test_low_pass():
    """It keeps what lies below the transition band, and stops what lies above."""
    rate, cutoff, half_width = 64, 8.0, 6.0
    for taps in (24, 25):
        flat = low_pass(taps, cutoff, half_width, rate).double()
        radial = low_pass(taps, cutoff, half_width, rate, radial=True).double()
        assert flat.sum().item() == pytest.approx(1, abs=1e-6)
        assert radial.sum().item() == pytest.approx(1, abs=1e-6)
        close(radial, radial.T)
        close(radial, radial.rot90())
        at = torch.arange(taps).double() / rate
        for response in (flat, radial.sum(0)):
            gains = [
                abs((response * torch.exp(2j * math.pi * f * at)).sum())
                for f in (0.5, 2.0, 14.0, 20.0, 32.0)
            ]
            assert all(0.95 < gain < 1.05 for gain in gains[:2])
            assert all(gain < 0.05 for gain in gains[2:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_layers": 2}, "2 layers, 2 of them critically sampled; expected at least"),
        (
            {"first_cutoff": 0},
            "first_cutoff is 0; expected a number of the type float, 1 or larger",
        ),
        ({"first_stopband": math.nan}, "first_stopband is nan; expected"),
        ({"margin_size": -1}, "margin_size is -1; expected a number of the type int, 0 or larger"),
        ({"margin_size": 10.5}, "margin_size is 10.5; expected"),
        ({"img_resolution": 1e9}, "img_resolution is 1000000000.0; expected"),
        ({"filter_size": 1000}, "filters of 2000 and 2000 taps; expected at most 256"),
        ({"num_layers": 5}, "got 5 widths; a StyleGAN3 of 5 layers has 6"),
    ],
)
def test_impossible_configurations(make_generator, change, message):
    config = make_generator(32, 4, 8, architecture="stylegan3").config | change
    with pytest.raises(ValueError, match=message):
        Generator(config)


# Layers, by plain operations ----------------------------------------------------------------------


def plain_resampling(x, taps, up=1, padding=(0, 0), down=1):
    """Zeros inserted, padded or cut, convolved with the filter, every down-th pixel kept."""
    n, channels, height, width = x.shape
    spread = x.new_zeros(n, channels, height, up, width, up)
    spread[:, :, :, 0, :, 0] = x
    x = F.pad(spread.reshape(n, channels, height * up, width * up), padding * 2)
    kernel = torch.outer(taps, taps) if taps.ndim == 1 else taps
    kernel = kernel.flip(0, 1).expand(channels, 1, -1, -1)
    return F.conv2d(x, kernel * up**2, groups=channels)[:, :, ::down, ::down]


@pytest.mark.parametrize(
    ("taps", "up", "padding"),
    [(12, 2, (9, 8)), (24, 4, (-6, -9)), (5, 2, (3, 3)), (4, 2, (7, -2)), (3, 1, (0, 1))],
)
def test_upsample(taps, up, padding):
    """Filters without any symmetry."""
    x, taps = torch.randn(2, 3, 17, 14).double(), torch.randn(taps).double()
    close(upsample(x, taps, up, padding), plain_resampling(x, taps, up, padding), 1e-12)
    assert torch.equal(upsample(x, None, 1, (2, -1)), F.pad(x, (2, -1, 2, -1)))


@pytest.mark.parametrize("shape", [(12,), (5,), (6, 6)])
def test_downsample(shape):
    x, taps = torch.randn(2, 3, 19, 16).double(), torch.randn(shape).double()
    close(downsample(x, taps, 2), plain_resampling(x, taps, down=2), 1e-12)
    assert torch.equal(downsample(x, None, 1), x)


def plain_weights(layer, style):
    """(N, O, I, k, k) of each image: everything in the order of the release."""
    weight = layer.weight * layer.weight.square().mean((1, 2, 3), keepdim=True).rsqrt()
    style = style * style.square().mean(1, keepdim=True).rsqrt()
    weight = weight * style[:, None, :, None, None]
    return weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize("clamp", [None, 0.5])
def test_layer(radial, clamp):
    settings = {"use_radial_filters": radial, "conv_kernel": 1 if radial else 3, "margin_size": 2}
    sampling = Sampling(img_resolution=64, **(RELEASE | settings))
    rates = [level.rate for level in levels(sampling)]
    index = rates.index(2 * rates[0])
    way = resampling(sampling, index)
    assert (way.up, way.down) == (4, 2)
    layer = Conv(5, 4, 3, settings["conv_kernel"], way, clamp).double().requires_grad_(False)
    layer.magnitude_ema.fill_(1.7)
    layer.bias.copy_(torch.randn(4))
    layer.up_filter.add_(0.1 * torch.randn_like(layer.up_filter))
    layer.down_filter.add_(0.1 * torch.randn_like(layer.down_filter))
    x, style = torch.randn(2, 5, 20, 20).double(), torch.randn(2, 5).double()
    weights = plain_weights(layer, style) * layer.magnitude_ema.rsqrt()
    side = weights.shape[-1] - 1
    images = zip(x, weights, strict=True)
    y = torch.stack([F.conv2d(one, own, layer.bias, padding=side) for one, own in images])
    y = plain_resampling(y, layer.up_filter, layer.up, layer.padding)
    y = F.leaky_relu(y, 0.2) * math.sqrt(2)
    if clamp is not None:
        assert (y.abs() > clamp).any()
        y = y.clamp(-clamp, clamp)
    y = plain_resampling(y, layer.down_filter, down=layer.down)
    close(layer(x, style), y, 1e-12)


def test_to_rgb():
    layer = ScaledToRGB(5, 3, 4, clamp=0.2).double().requires_grad_(False)
    layer.magnitude_ema.fill_(1.7)
    x, style = torch.randn(2, 5, 6, 6).double(), torch.randn(2, 5).double()
    weights = layer.weight[:, :, 0, 0] * (style / math.sqrt(5 * 1.7))[:, None]
    expected = torch.einsum("noi,nihw->nohw", weights, x) + layer.bias[:, None, None]
    assert (expected.abs() > 0.2).any()
    close(layer(x, style), expected.clamp(-0.2, 0.2), 1e-12)


def test_waves(generator, ws):
    """The input, pixel by pixel and wave by wave, as the paper writes it."""
    network = generator.synthesis.input
    style = network.affine(ws[:, 0])[:1].double()
    (cos, sin, right, down), near = style[0].tolist(), {"rel": 1e-4, "abs": 1e-5}
    size = math.hypot(cos, sin)
    cos, sin, right, down = cos / size, sin / size, right / size, down / size
    x = network(style.float(), torch.eye(3))
    assert x.shape == (1, 8, 36, 36)
    for row, column in ((0, 0), (3, 35), (20, 7)):
        # The motion undone: what came last goes first.
        across, along = (column + 0.5 - 18) / 16 - right, (row + 0.5 - 18) / 16 - down
        u, v = cos * across - sin * along, sin * across + cos * along
        values = [
            math.sin(2 * math.pi * (fx * u + fy * v + phase))
            for (fx, fy), phase in zip(network.freqs.tolist(), network.phases.tolist(), strict=True)
        ]
        expected = torch.tensor(values) @ network.weight.T / math.sqrt(8)
        assert x[0, :, row, column].tolist() == pytest.approx(expected.tolist(), **near)


def test_waves_that_would_be_aliased_fade(generator, ws):
    """A picture shrunk by the transform raises all frequencies; from half the rate on, silence."""
    network = generator.synthesis.input
    style = network.affine(ws[:, 0])
    assert network(style, torch.eye(3)).abs().max() > 0.1
    assert network(style, torch.diag(torch.tensor([1e4, 1e4, 1.0]))).abs().max() == 0


# Moving the picture -------------------------------------------------------------------------------


@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, -4), (6, 4)])
def test_translation_moves_the_picture(generator, ws, right, down):
    """Whole pixels at every rate: exact within rounding where the margin does not matter."""
    before = generator.synthesize(ws)
    placement = make_placement(translation=(right / 32, down / 32))
    moved = generator.synthesize(ws, placement=placement)
    assert (moved - before).abs().max() > 0.01
    back = moved.roll((-down, -right), (2, 3))
    close(back[:, :, 7:-7, 7:-7], before[:, :, 7:-7, 7:-7], 5e-6)


def test_translation_between_the_pixels_of_the_input(generator, ws):
    """One pixel of the image, half a pixel of the first layers: alias-free, though not exactly."""
    before = generator.synthesize(ws)
    placement = make_placement(translation=(1 / 32, 3 / 32))
    back = generator.synthesize(ws, placement=placement).roll((-3, -1), (2, 3))
    close(back[:, :, 4:-4, 4:-4], before[:, :, 4:-4, 4:-4], 2e-3 * before.std().item())


def test_rotation_turns_the_picture(generator, ws):
    """Configuration R by 90 degrees, exactly; configuration T is not made for it."""
    before = generator.synthesize(ws)
    for degrees in (90, 180, -90):
        # torch.rot90 turns rows upwards: counter-clockwise as seen.
        rotated = generator.synthesize(ws, placement=make_placement(degrees))
        error = rotated - before.rot90(degrees // 90, (2, 3))
        if generator.config["use_radial_filters"]:
            assert error.abs().max() < 5e-6
        else:
            assert error.abs().max() > 0.01


def test_rotation_comes_before_translation():
    matrix = make_placement(90, (0.25, 0.5)).double()
    # A point of the picture, to the right of its centre, goes above it, and then right and down.
    point = torch.tensor([0.25, 0.5 - 0.1, 1.0]).double()
    close(matrix @ point, torch.tensor([0.1, 0.0, 1.0]).double(), 1e-6)
    close(make_placement(), torch.eye(3), 0)


def test_a_style_places_the_picture_as_a_user_does(generator, ws):
    styles = list(generator.styles(ws))
    angle, length = math.radians(30), 1.7
    styles[0] = torch.tensor([math.cos(angle), math.sin(angle), 0.1, -0.2]).expand(3, 4) * length
    by_style = generator.synthesize(styles)
    styles[0] = torch.tensor([1.0, 0, 0, 0]).expand(3, 4)
    placement = make_placement(30, (0.1, -0.2))
    close(generator.synthesize(styles, placement=placement), by_style, 5e-6)


def test_a_placement_for_each_image(generator, ws):
    generator, ws = copy.deepcopy(generator).double(), ws.double()
    degrees, shifts = torch.tensor([10.0, -20.0, 0.0]), torch.tensor([[0.1, 0], [0, 0], [0, 0.2]])
    placement = make_placement(degrees, shifts)
    batch = generator.synthesize(ws, placement=placement)
    for row in range(3):
        one = make_placement(degrees[row], shifts[row])
        close(generator.synthesize(ws[row : row + 1], placement=one), batch[row : row + 1], 1e-12)
    # Nothing of it stays behind.
    close(generator.synthesize(ws), generator.synthesize(ws, placement=make_placement()), 1e-12)
    # One rotation for all translations, and the other way round.
    assert make_placement(5, shifts).shape == make_placement(degrees, (0.1, 0)).shape == (3, 3, 3)


def test_placements_that_do_not_fit(generator, ws, make_generator):
    for wrong in ((0, (1, 2, 3)), (0, 0.5), (torch.zeros(2, 2), (0, 0))):
        with pytest.raises(ValueError, match=r"expected \(\) or \(N,\), and \(2,\) or \(N, 2\)"):
            make_placement(*wrong)
    three = make_placement(torch.zeros(3))
    for wrong in (three, three[:2, :2], torch.eye(2)):
        sentence = re.escape(f"shape {tuple(wrong.shape)}, the batch 2 images; expected (3, 3)")
        with pytest.raises(ValueError, match=sentence):
            generator.synthesize(ws[:2], placement=wrong)
    other = make_generator(8, 4, 8)
    with pytest.raises(ValueError, match='architecture "stylegan2"; only StyleGAN3 takes one'):
        other.synthesize(other.map(torch.zeros(1, 8)), placement=torch.eye(3))


@pytest.mark.parametrize("space", ["w+", "f/w+"])
def test_saved_latents_redraw_a_rotated_picture(generator, tmp_path, space):
    """A placement is a part of latents: of each image, with a feature and without."""
    placement = make_placement(torch.tensor([30.0, -45.0]), (0.1, -0.2))
    latents = stylegan.init_latents(generator, space, 2, placement=placement)
    images = latents.synthesize(generator)
    mean = spaces.SPACES["w+"].initial_code(generator, 2, "mean")
    close(images, generator.synthesize(mean, placement=placement), 0)
    assert (images[0] - images[1]).abs().max() > 0.01
    latents.save(tmp_path / "latents.safetensors")
    again = Latents.load(tmp_path / "latents.safetensors", generator)
    assert torch.equal(again.placement, placement)
    assert torch.equal(again.synthesize(generator), images)
    close(again[1].synthesize(generator), images[1:], 1e-5)
    # One for all images.
    one = stylegan.init_latents(generator, space, 3, placement=placement[0])
    close(one.synthesize(generator), images[:1].expand(3, -1, -1, -1), 1e-5)


def test_the_placement_of_a_file_is_not_part_of_the_fingerprint(generator, ws):
    """Releases hold a transform: it is drawn with, and codes still belong to their generator."""
    moved, placement = copy.deepcopy(generator), make_placement(30, (0.1, 0.2))
    moved.synthesis.input.transform.copy_(placement)
    assert fingerprint(moved.state_dict()) == fingerprint(generator.state_dict())
    assert torch.equal(moved.synthesize(ws), generator.synthesize(ws, placement=placement))


# One network, run in different ways ---------------------------------------------------------------


def test_layers(generator):
    assert generator.feature_layers == LAYERS
    assert generator.default_feature_layer() == "L0"
    assert generator.num_ws == 6
    assert [generator.first_ws_index(layer) for layer in LAYERS] == [2, 3, 4, 5]
    assert [generator.first_style_index(layer) for layer in LAYERS] == [2, 3, 4, 5]
    assert generator.style_sizes == (4, 8, 8, 8, 8, 8)
    assert [layer.resolution for layer in generator.synthesis.layers] == [16, 16, 32, 32, 32, 32]


def test_no_noise(generator, ws):
    assert generator.noise_maps(3) == ()
    assert generator.noise_strengths == ()
    image = generator.synthesize(ws)
    assert torch.equal(generator.synthesize(ws, "random"), image)
    assert torch.equal(generator.synthesize(ws, []), image)
    with pytest.raises(ValueError, match="got 1 noise maps, this generator has 0 noise inputs"):
        generator.synthesize(ws, [torch.zeros(1, 1, 4, 4)])


@pytest.mark.parametrize("layer", LAYERS)
def test_stop_then_start_is_the_whole(generator, ws, layer):
    feature = generator.synthesize(ws, stop=layer)
    size = {"L0": 36, "L1": 52, "L2": 52, "L3": 32}[layer]
    assert feature.x.shape == (3, 8, size, size)
    assert feature.rgb is None
    whole = generator.synthesize(ws)
    assert torch.equal(generator.synthesize(ws, start=feature), whole)
    assert torch.equal(generator.synthesize(ws, start=feature, rgb_skip="zero"), whole)
    # The style of a layer acts after it: on its feature, and not in it.
    first = generator.first_ws_index(layer)
    others = ws.clone()
    others[:, first:] += 1.0
    assert torch.equal(generator.synthesize(others, stop=layer).x, feature.x)
    others = ws.clone()
    others[:, :first] += 1.0
    assert torch.equal(generator.synthesize(others, start=feature), whole)
    others[:, first] += 1.0
    assert not torch.equal(generator.synthesize(others, start=feature), whole)


def test_images_of_a_batch_do_not_meet(generator, ws):
    generator, ws = copy.deepcopy(generator).double(), ws.double()
    together = generator.synthesize(ws)
    for row in range(3):
        close(generator.synthesize(ws[row : row + 1]), together[row : row + 1], 1e-12)
    # NVIDIA divides styles by their size over the batch: here a mate of huge ones changes nothing.
    styles = [
        style * torch.tensor([[1.0], [1e3], [1.0]]).double() for style in generator.styles(ws)
    ]
    close(generator.synthesize(styles)[::2], together[::2], 1e-12)


def test_recomputed_for_the_gradient(generator, ws, monkeypatch):
    ws = ws.clone().requires_grad_()
    images, gradients = [], []
    for limit in (stylegan3.RECOMPUTE, 0):
        monkeypatch.setattr(stylegan3, "RECOMPUTE", limit)
        images.append(generator.synthesize(ws))
        gradients += torch.autograd.grad(images[-1].square().sum(), ws)
    assert torch.equal(*images)
    assert torch.equal(*gradients)


# Gradients, by finite differences -----------------------------------------------------------------


@pytest.fixture(scope="module", params=[False, True], ids=["t", "r"])
def small(request, make_generator):
    """(generator, ws) in float64"""
    options = {"architecture": "stylegan3", "radial": request.param, "layers": 3}
    generator = make_generator(16, 2, 4, conv_clamp=256.0, **options).double()
    z = torch.randn(2, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return generator, generator.map(z)


@pytest.mark.parametrize("name", spaces.SPACES)
def test_code_gradient(small, name):
    generator, _ = small
    space = spaces.SPACES[name]
    code = space.initial_code(generator, 1, "random", seed=4).requires_grad_()

    def draw(code):
        return few(generator.synthesize(space.decode(generator, code)))

    assert gradcheck(draw, code, eps=STEP)
    image = generator.synthesize(space.decode(generator, code))
    (gradient,) = torch.autograd.grad(image.square().sum(), code)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("layer", ["L0", "L2"])
def test_feature_gradient(small, layer):
    generator, ws = small
    x = generator.synthesize(ws, stop=layer).x.clone().requires_grad_()

    def draw(x):
        return few(generator.synthesize(ws, start=Feature(layer, x, None)))

    assert gradcheck(draw, x, eps=STEP, fast_mode=True)
    (gradient,) = torch.autograd.grad(draw(x).square().sum(), x)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("recompute", [False, True])
def test_second_derivatives(small, recompute, monkeypatch):
    """With and without recomputation."""
    if recompute:
        monkeypatch.setattr(stylegan3, "RECOMPUTE", 0)
    check_second_derivatives(*small)
