"""Oracles: inverses, the sphere, and the statistics of the generator's own samples."""

import math
import re

import pytest
import torch

from facsimile import stylegan
from facsimile.stylegan import spaces
from facsimile.stylegan.randomness import keyed_generator

NAMES = [prefix + name for prefix in ("", "f/") for name in spaces.SPACES]
SHAPES = {
    "z": (32,),
    "z+": (8, 32),
    "w": (32,),
    "w+": (8, 32),
    "p_n": (32,),
    "p_n+": (8, 32),
    "s": (16 * 11,),
}


@pytest.fixture(scope="module")
def ws(generator64):
    z = torch.randn(2000, 32, generator=torch.Generator().manual_seed(9)).double()
    return generator64.map(z)


def test_the_list_of_spaces():
    assert sorted(spaces.SPACES) == sorted(SHAPES)
    for name, space in spaces.SPACES.items():
        assert space.name == name
        assert spaces.parse(name) == (space, False)
        assert spaces.parse(f"f/{name}") == (space, True)


@pytest.mark.parametrize("name", ["", "x", "W+", "f/f/w", "f/", "f"])
def test_unknown_spaces(name):
    expected = f'no space "{re.escape(name)}"; choose one of p_n, p_n\\+, s, w.*or f/'
    with pytest.raises(ValueError, match=expected):
        spaces.parse(name)


@pytest.mark.parametrize("name", NAMES)
def test_initial_code(generator, name):
    inner, has_feature = spaces.parse(name)
    latents = stylegan.init_latents(generator, name, 3, init="random", seed=5)
    assert latents.space == name
    assert latents.code.shape == (3, *SHAPES[inner.name])
    assert latents.code.dtype == torch.float32
    assert torch.equal(latents.code[:1].expand_as(latents.code), latents.code)
    assert len(latents) == 3
    assert (latents.feature is not None) == has_feature
    images = latents.synthesize(generator)
    assert images.shape == (3, 3, 32, 32)
    assert torch.equal(images, latents.synthesize(generator))
    one = stylegan.init_latents(generator, name, 1, init="random", seed=5)
    assert torch.equal(one.code[0], latents.code[0])
    other = stylegan.init_latents(generator, name, 1, init="random", seed=6)
    assert (other.code - one.code).abs().max() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_default_init(generator, name):
    latents = stylegan.init_latents(generator, name, 1)
    if "z" in name:
        again = stylegan.init_latents(generator, name, 1, init="random", seed=0)
        assert torch.equal(latents.code, again.code)
        with pytest.raises(ValueError, match='initialise a code in Z or Z\\+ with "random"'):
            stylegan.init_latents(generator, name, 1, init="mean")
    else:
        # The average image, whatever the space.
        average = generator.synthesize(spaces.mean_w(generator)[:, None].expand(-1, 8, -1))
        torch.testing.assert_close(latents.synthesize(generator), average, atol=1e-4, rtol=0)


def test_unknown_init(generator):
    with pytest.raises(ValueError, match='initialised with "mean" or "random", got "zero"'):
        stylegan.init_latents(generator, "w", 1, init="zero")


@pytest.mark.parametrize("name", [*spaces.SPACES, "f/w+", "f/z"])
def test_initial_code_with_labels(make_generator, name):
    """Each image starts from the mean of its label; drawing uses the label."""
    generator = make_generator(c_dim=2)
    label = torch.eye(2)[[0, 1, 0]]
    latents = stylegan.init_latents(generator, name, 3, label=label)
    inner, _ = spaces.parse(name)
    if inner.needs_label:
        with pytest.raises(ValueError, match="needs a label of length 2, got none"):
            inner.decode(generator, latents.code)
    else:
        inner.decode(generator, latents.code)
    images = latents.synthesize(generator)
    assert torch.equal(images[0], images[2])
    assert (images[0] - images[1]).abs().max() > 1e-3
    alone = stylegan.init_latents(generator, name, 1, label=label[1:2])
    torch.testing.assert_close(alone.code[0], latents.code[1])


def test_mean_of_a_label(make_generator):
    generator = make_generator(c_dim=2)
    z = torch.randn(50_000, 32)
    for label in torch.eye(2):
        mean = generator.mapping(z, label.expand(len(z), -1)).mean(0)
        torch.testing.assert_close(
            spaces.mean_w(generator, label[None])[0], mean, atol=0.02, rtol=0
        )


def test_decode(generator):
    ws = generator.map(torch.randn(2, 32))
    one = spaces.SPACES["w"].decode(generator, ws[:, 0])
    assert torch.equal(one, ws)
    assert torch.equal(spaces.SPACES["w+"].decode(generator, ws), ws)
    z = torch.randn(2, 8, 32)
    assert torch.equal(spaces.SPACES["z+"].decode(generator, z), generator.map(z))
    assert torch.equal(spaces.SPACES["z"].decode(generator, z[:, 0]), generator.map(z[:, 0]))
    styles = generator.styles(ws)
    decoded = spaces.SPACES["s"].decode(generator, torch.cat(styles, 1))
    assert all(torch.equal(a, b) for a, b in zip(styles, decoded, strict=True))
    torch.testing.assert_close(
        spaces.SPACES["p_n+"].decode(generator, spaces.whiten(generator, ws)), ws, atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("name", ["z", "z+"])
def test_the_sphere(name):
    space = spaces.SPACES[name]
    code = torch.randn(4, 8, 32) * torch.tensor([1e-3, 1.0, 7.0, 1e4])[:, None, None]
    code = code if space.plus else code[:, 0]
    on = space.retract(code)
    torch.testing.assert_close(on.norm(dim=-1) / math.sqrt(32), torch.ones(on.shape[:-1]))
    assert (on.norm(dim=-1) / math.sqrt(32) - 1).abs().max() < 1e-6
    torch.testing.assert_close(
        on / on.norm(dim=-1, keepdim=True), code / code.norm(dim=-1)[..., None]
    )
    torch.testing.assert_close(space.retract(on), on)


@pytest.mark.parametrize("name", ["w", "w+", "p_n", "p_n+", "s"])
def test_no_retraction_elsewhere(name):
    code = torch.randn(2, 5)
    assert torch.equal(spaces.SPACES[name].retract(code), code)


def test_deviation_from_the_sphere(generator64):
    z = spaces.SPACES["z"].retract(torch.randn(2, 32, dtype=torch.float64))
    factors = torch.tensor([[1.1], [0.7]], dtype=torch.float64)
    deviation = spaces.SPACES["z"].deviation(generator64, z * factors)
    torch.testing.assert_close(deviation, torch.tensor([0.1, 0.3], dtype=torch.float64))
    z_plus = z[:, None].repeat(1, 8, 1)
    z_plus[0, 2] *= 1.5
    z_plus[1, 6] *= 0.5
    plus = spaces.SPACES["z+"]
    expected = torch.tensor([0.5, 0.5], dtype=torch.float64)
    torch.testing.assert_close(plus.deviation(generator64, z_plus), expected)
    after = plus.deviation(generator64, z_plus, first=3)
    torch.testing.assert_close(after, torch.tensor([0.0, 0.5], dtype=torch.float64))


def test_whitening(generator64, ws):
    w = ws[:, 0]
    code = spaces.whiten(generator64, w)
    # The statistics themselves are kept in float32.
    torch.testing.assert_close(spaces.unwhiten(generator64, code), w, atol=1e-5, rtol=0)
    back = torch.randn(5, 8, 32, dtype=torch.float64)
    there = spaces.unwhiten(generator64, back)
    torch.testing.assert_close(spaces.whiten(generator64, there), back, atol=1e-3, rtol=0)
    # 2000 samples: standard errors of 1 / sqrt(2000) = 0.022, four of them.
    assert code.mean(0).abs().max() < 0.1
    assert (torch.cov(code.T) - torch.eye(32)).abs().max() < 0.15


def codes(generator, ws):
    """Samples as codes of every space with a prior that is not a sphere."""
    return {
        "w": ws[:, 0],
        "w+": ws,
        "p_n": spaces.whiten(generator, ws[:, 0]),
        "p_n+": spaces.whiten(generator, ws),
        "s": torch.cat(generator.styles(ws), 1),
    }


@pytest.mark.parametrize("name", ["w", "w+", "p_n", "p_n+", "s"])
def test_samples_deviate_by_about_one(generator64, ws, name):
    space, code = spaces.SPACES[name], codes(generator64, ws)[name]
    deviation = space.deviation(generator64, code)
    assert deviation.shape == (2000,)
    assert deviation.square().mean().item() == pytest.approx(1, abs=0.05)
    assert 0.9 < deviation.mean() < 1.05
    torch.testing.assert_close(space.mahalanobis_sq(generator64, code), deviation.square())
    if name in ("p_n", "p_n+", "s"):
        # Three times as far from where the deviation is 0.
        centre = 0 if name != "s" else space.initial_code(generator64, 1, "mean")
        assert (space.deviation(generator64, centre + 0 * code) < 1e-6).all()
        torch.testing.assert_close(
            space.deviation(generator64, centre + 3 * (code - centre)), 3 * deviation
        )


@pytest.mark.parametrize("name", ["w+", "p_n+", "s"])
def test_only_the_inputs_that_act_deviate(generator64, ws, name):
    space, code = spaces.SPACES[name], codes(generator64, ws[:4])[name]
    changed = code.clone()
    if name == "s":
        # b4.conv1 reads input 0; b4.torgb and b8.conv0 read input 1.
        changed[:, :48] += 5.0
    else:
        changed[:, :2] += 5.0
    deviation = space.deviation(generator64, code, first=2)
    torch.testing.assert_close(space.deviation(generator64, changed, first=2), deviation)
    assert (space.deviation(generator64, changed, first=1) > 1.5 * deviation).all()


@pytest.mark.parametrize("seed", [0, 1, 1337])
def test_no_initial_code_is_a_row_of_weights_of_the_same_seed(generator64, seed):
    """A mapping made after `torch.manual_seed(seed)` answers its own rows as no other code."""
    rows = torch.randn(64, 32, generator=torch.Generator().manual_seed(seed)).double()
    for name in ("z", "z+"):
        code = spaces.SPACES[name].initial_code(generator64, 1, "random", seed).reshape(-1, 32)
        cosine = torch.nn.functional.cosine_similarity(code[:, None].double(), rows, dim=-1)
        assert cosine.abs().max() < 0.8


def test_mahalanobis_sq_is_the_formula(make_generator, generator64, ws):
    """mean(((LeakyReLU_5(w) - mu) C / std)^2), by covariance instead of by its eigenvectors."""
    rng = keyed_generator("cpu", 0, "statistics")
    z = torch.cat([torch.randn(10_000, 32, generator=rng) for _ in range(10)])
    w = make_generator().mapping(z).double()
    p = torch.where(w > 0, w, 5 * w)
    sample = torch.where(ws[:6, 0] > 0, ws[:6, 0], 5 * ws[:6, 0]) - p.mean(0)
    mahalanobis = torch.einsum("nd,de,ne->n", sample, torch.cov(p.T).inverse(), sample) / 32
    got = spaces.SPACES["w"].mahalanobis_sq(generator64, ws[:6, 0])
    torch.testing.assert_close(got, mahalanobis, rtol=1e-3, atol=0)


def test_gradients_after_inference_mode(make_generator):
    """Statistics that were first computed in inference mode serve a gradient later."""
    generator = make_generator(8, 4, 8)
    with torch.inference_mode():
        stylegan.init_latents(generator, "p_n+", 1).synthesize(generator)
    code = torch.randn(1, generator.num_ws, 8, requires_grad=True)
    generator.synthesize(spaces.SPACES["p_n+"].decode(generator, code)).sum().backward()
    assert code.grad.abs().sum() > 0
