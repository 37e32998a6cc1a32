"""Oracle: the formulas, written out."""

import pytest
import torch
from refine_helpers import go, one_phase

from facsimile import metrics
from facsimile.refine import Term
from facsimile.refine.terms import evaluate, prepare
from facsimile.stylegan import spaces


@pytest.fixture
def value(tiny):
    """value(term, space, ..) -> (N,) of latents that have moved away from their start."""

    def compute(*terms, space="f/w+", masks=None):
        start = tiny.start(space)
        networks = {"perceptual": tiny.perceptual, "encoder": tiny.encoder}
        images = {"target": tiny.targets}
        recipe = one_phase(space, terms=terms)
        targets = prepare(tiny.generator, start, images, masks or {}, networks, recipe)
        return evaluate(targets.inputs(away(start)), terms)

    return compute


def away(start):
    return start.with_tensors({name: 1.1 * x + 0.1 for name, x in start.tensors().items()})


def single(values):
    (only,) = values.values()
    return only


def test_pixel(tiny, value):
    image = away(tiny.start("f/w+")).synthesize(tiny.generator)
    error = (image - tiny.targets).square()
    torch.testing.assert_close(single(value(Term("pixel", 3.0))), 3 * error.sum((1, 2, 3)) / 192)
    # Image2StyleGAN++: the mask is inside the square, and the whole image is the denominator.
    mask = torch.rand(8, 1, 8, 8, dtype=torch.float64)
    got = single(value(Term("pixel", 1.0, mask="m"), masks={"m": mask}))
    torch.testing.assert_close(got, (error * mask**2).sum((1, 2, 3)) / 192)


def test_noise_pixel(tiny, value):
    """1e-5 times the squares on 0..255, divided by the scalars of 1024 x 1024 x 3."""
    image = away(tiny.start("f/w+")).synthesize(tiny.generator)
    squares = ((image - tiny.targets) * 127.5).square().sum((1, 2, 3))
    expected = 1e-5 * squares / (1024 * 1024 * 3)
    torch.testing.assert_close(single(value(Term("noise_pixel", 1.0))), expected)


def test_perceptual(tiny, value):
    image = away(tiny.start("f/w+")).synthesize(tiny.generator)
    got = single(value(Term("perceptual", 10.0)))
    expected = 10 * metrics.distance(
        tiny.perceptual.features(image), tiny.perceptual.features(tiny.targets)
    )
    torch.testing.assert_close(got, expected)
    mask = torch.zeros(8, 1, 8, 8, dtype=torch.float64)
    mask[:, :, :, 4:] = 1
    half = single(value(Term("perceptual", 10.0, mask="m"), masks={"m": mask}))
    assert (half < got).all()
    assert (half > 0).all()


def test_regularisers(tiny, value):
    start = tiny.start("f/w+")
    moved = away(start)
    got = single(value(Term("feature_reg", 10.0)))
    expected = 10 * (moved.feature - start.feature).square().mean((1, 2, 3))
    torch.testing.assert_close(got, expected)
    got = single(value(Term("latent_reg", 2.0)))
    torch.testing.assert_close(got, 2 * (moved.code - start.code).square().mean((1, 2)))


def test_domain_reg(tiny, value):
    moved = away(tiny.start("w+"))
    guess = tiny.encoder(moved.synthesize(tiny.generator))
    expected = 2 * (moved.code - guess).square().mean((1, 2))
    torch.testing.assert_close(single(value(Term("domain_reg", 2.0), space="w+")), expected)


def test_domain_reg_has_the_gradient_of_finite_differences(tiny):
    """Through the encoder and the generator, and into no other image."""
    start = tiny.start("w+")
    terms = (Term("domain_reg", 2.0),)
    networks = {"encoder": tiny.encoder}
    targets = prepare(tiny.generator, start, {}, {}, networks, one_phase(terms=terms))

    def losses(code):
        return single(evaluate(targets.inputs(start.with_tensors({"code": code})), terms))

    code = start.code.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(losses(code).sum(), code)
    direction = torch.randn(code.shape, dtype=torch.float64)
    ahead, behind = (losses(start.code + step * direction) for step in (1e-5, -1e-5))
    slopes = (ahead - behind) / 2e-5
    torch.testing.assert_close(slopes, (gradient * direction).sum((1, 2)), rtol=1e-6, atol=1e-8)
    (alone,) = torch.autograd.grad(losses(code)[0], code)
    assert alone[1:].abs().max() == 0


@pytest.mark.parametrize("space", ["w", "w+", "p_n", "p_n+", "s"])
def test_p_norm(tiny, value, space):
    code = away(tiny.start(space)).code
    got = single(value(Term("p_norm", 0.5), space=space))
    if space == "s":
        # Whitened by the channels' own mean and deviation over samples.
        z = torch.randn(50_000, 8, dtype=torch.float64)
        samples = torch.cat(tiny.generator.styles(tiny.generator.map(z)), 1)
        expected = ((code - samples.mean(0)) / samples.std(0)).square().mean(1)
        torch.testing.assert_close(got, 0.5 * expected, rtol=0.05, atol=0)
    else:
        whitened = code if space.startswith("p_n") else spaces.whiten(tiny.generator, code)
        torch.testing.assert_close(got, 0.5 * whitened.square().flatten(1).mean(1))


def test_p_norm_counts_the_inputs_that_act(tiny, value):
    code = away(tiny.start("f/w+")).code
    whitened = spaces.whiten(tiny.generator, code[:, 1:])
    got = single(value(Term("p_norm", 1.0), space="f/w+"))
    torch.testing.assert_close(got, whitened.square().mean((1, 2)))


def test_every_image_has_its_value(value, tiny):
    names = ["pixel", "noise_pixel", "perceptual", "feature_reg", "latent_reg", "p_norm"]
    values = value(*[Term(name, 1.0) for name in names])
    assert list(values) == names
    for x in values.values():
        assert x.shape == (8,)
        assert len(x.unique()) == 8


def test_terms_of_one_name_are_added(value):
    one = single(value(Term("pixel", 1.0)))
    both = single(value(Term("pixel", 1.0), Term("pixel", 2.0)))
    torch.testing.assert_close(both, 3 * one)
    ones = torch.ones(8, 1, 8, 8, dtype=torch.float64)
    apart = value(Term("pixel", 1.0), Term("pixel", 2.0, mask="m"), masks={"m": ones})
    assert list(apart) == ["pixel", "pixel[m]"]


def test_a_feature_term_without_a_feature(tiny):
    sentence = 'needs a feature, and the space of "test" is "w\\+"; .* use f/w\\+'
    with pytest.raises(ValueError, match=sentence):
        go(tiny, one_phase(terms=(Term("feature_reg", 1.0),)))
