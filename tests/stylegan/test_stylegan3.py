"""Oracles: NVIDIA's arrays, parts that are the whole, finite differences."""

import copy
import re

import pytest
import torch
from differences import check_second_derivatives, few
from stylegan3_release import RELEASE
from test_golden import golden
from torch.autograd import gradcheck

from facsimile import stylegan
from facsimile.stylegan import Feature, Generator, files, freeze, spaces, stylegan3

# Of finite differences: so short that hardly any of 1e5 leaky ReLUs changes its side.
STEP = 1e-8
LAYERS = ("L0", "L1", "L2", "L3")


def close(got, expected, atol=1e-5):
    torch.testing.assert_close(got, expected, atol=atol, rtol=0)


@pytest.fixture(scope="module", params=["t", "r"])
def release(request):
    """(configuration, tensors under our names, arrays)"""
    config, state, arrays = golden(f"stylegan3_{request.param}_generator")
    tensors = {
        re.sub(r"^synthesis\.(L\d+)_\d+_\d+\.", r"synthesis.\1.", name): x
        for name, x in state.items()
    }
    channels = [
        len(tensors[f"synthesis.L{index}.weight"]) for index in range(config["num_layers"] + 1)
    ]
    others = {"architecture": "stylegan3", "mapping_layers": 2, "output_scale": 0.25}
    return RELEASE | config | others | {"channels": channels}, tensors, arrays


@pytest.fixture(scope="module")
def generator(stylegan3_generator):
    return stylegan3_generator


@pytest.fixture(scope="module")
def ws(stylegan3_ws):
    return stylegan3_ws


def test_images(release):
    config, tensors, arrays = release
    generator = Generator(config)
    generator.load_state_dict(tensors)
    freeze(generator)
    assert generator.num_ws == config["num_layers"] + 2
    close(generator.map(arrays["z"]), arrays["ws"])
    close(generator.synthesize(arrays["ws"]), arrays["image"])
    close(generator.synthesize(arrays["w_plus"]), arrays["image_w_plus"])


def test_designed_filters_are_those_of_the_release(release):
    config, tensors, _ = release
    state = Generator(config).state_dict()
    assert state.keys() == tensors.keys()
    filters = [name for name in state if name.endswith("_filter")]
    assert len(filters) == 2 * config["num_layers"]
    for name in filters:
        close(state[name], tensors[name], 1e-7)
    radial = {state[name].ndim for name in filters if name.endswith("down_filter")}
    assert radial == ({1, 2} if config["use_radial_filters"] else {1})


def test_saved_and_loaded(release, tmp_path):
    config, tensors, arrays = release
    path = tmp_path / "generator.safetensors"
    files.write(path, "generator", config, tensors)
    generator = stylegan.load(path)
    close(generator.synthesize(arrays["w_plus"]), arrays["image_w_plus"])
    stylegan.save(generator, path)
    assert stylegan.load(path).fingerprint == generator.fingerprint


def test_layers(generator):
    assert generator.feature_layers == LAYERS
    assert generator.default_feature_layer() == "L0"
    assert generator.num_ws == 6
    assert [generator.first_ws_index(layer) for layer in LAYERS] == [2, 3, 4, 5]
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
    batch = generator.synthesize(ws)
    for row in range(3):
        close(generator.synthesize(ws[row : row + 1]), batch[row : row + 1], 1e-12)
    # NVIDIA divides styles by their size over the batch: here a mate of huge ones changes nothing.
    styles = [
        style * torch.tensor([[1.0], [1e3], [1.0]]).double() for style in generator.styles(ws)
    ]
    close(generator.synthesize(styles)[::2], batch[::2], 1e-12)


def test_recomputed_for_the_gradient(generator, ws, monkeypatch):
    ws = ws.clone().requires_grad_()
    images, gradients = [], []
    for limit in (stylegan3.RECOMPUTE, 0):
        monkeypatch.setattr(stylegan3, "RECOMPUTE", limit)
        images.append(generator.synthesize(ws))
        gradients += torch.autograd.grad(images[-1].square().sum(), ws)
    assert torch.equal(*images)
    assert torch.equal(*gradients)


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
