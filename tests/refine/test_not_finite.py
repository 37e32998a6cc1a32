"""Oracle: runs in which nothing breaks. An image that breaks stops alone."""

import io
from dataclasses import replace

import pytest
import torch
from refine_helpers import bits, go, states_of

from facsimile.refine import refine
from facsimile.refine.recipes import get


class Spoiled:
    """A perceptual distance that spoils one row of its k-th look at the moving images."""

    def __init__(self, inner, row, at, how):
        self.inner, self.row, self.at, self.how, self.looks = inner, row, at, how, -2

    def features(self, image):
        self.looks += 1  # the first look is at the targets
        if self.looks == self.at:
            image = self.how.apply(image, self.row)
        return self.inner.features(image)


class Value(torch.autograd.Function):
    """NaN forwards."""

    @staticmethod
    def forward(context, image, row):
        image = image.clone()
        image[row] = torch.nan
        return image

    @staticmethod
    def backward(context, gradient):
        return gradient, None


class Gradient(torch.autograd.Function):
    """NaN backwards."""

    @staticmethod
    def forward(context, image, row):
        context.row = row
        return image.clone()

    @staticmethod
    def backward(context, gradient):
        gradient = gradient.clone()
        gradient[context.row] = torch.nan
        return gradient, None


@pytest.mark.parametrize("name", ["w+", "z+", "f/z +joint-noise", "f/s +noise"])
@pytest.mark.parametrize("how", [Value, Gradient])
def test_one_image_that_breaks_stops_alone(tiny, name, how):
    recipe = get(name).with_steps(12)
    whole = go(tiny, recipe)
    result = go(tiny, recipe, networks={"perceptual": Spoiled(tiny.perceptual, 2, 5, how)})
    assert result.status == ["done"] * 2 + ["not finite"] + ["done"] * 5
    # A gradient that is not finite shows in the loss of the next step.
    assert result.steps[2] == (5 if how is Value else 6)
    assert result.steps[:2] == whole.steps[:2]
    others = [0, 1, 3, 4, 5, 6, 7]
    for key, x in result.latents.tensors().items():
        assert x.isfinite().all()
        expected = whole.latents.tensors()[key]
        torch.testing.assert_close(x[others], expected[others], atol=1e-10, rtol=0)
    # The last good code: as far as a run comes that ends there.
    shorter = recipe.with_steps(4 if how is Value else 5)
    shorter = replace(shorter, phases=shorter.phases[:1])
    before = go(tiny, shorter)
    for key, x in before.latents.tensors().items():
        got = result.latents.tensors()[key]
        torch.testing.assert_close(got[2], x[2], atol=1e-10, rtol=0)
    assert (result.latents.code[2] - tiny.start(recipe.space).code[2]).abs().max() > 1e-3


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_target_that_is_not_finite(tiny, value):
    recipe = get("w+ +noise").with_steps(5)
    targets = tiny.targets.clone()
    targets[3, 0, 2, 2] = value
    start = tiny.start("w+")
    result = refine(
        tiny.generator, start, targets, recipe, networks={"perceptual": tiny.perceptual}
    )
    assert result.status[3] == "not finite"
    assert result.steps == [8, 8, 8, 0, 8, 8, 8, 8]
    assert torch.equal(result.latents.code[3], start.code[3])
    whole = go(tiny, recipe)
    others = [0, 1, 2, 4, 5, 6, 7]
    for key, x in result.latents.tensors().items():
        torch.testing.assert_close(
            x[others], whole.latents.tensors()[key][others], atol=1e-10, rtol=0
        )
    constant = [m[3] for m in tiny.generator.noise_maps(8)]
    assert all(torch.equal(m[3], c) for m, c in zip(result.latents.noise, constant, strict=True))


def test_all_images_break(tiny):
    recipe = get("w+ +noise").with_steps(5)
    start = tiny.start("w+")
    targets = torch.full_like(tiny.targets, torch.nan)
    result = refine(
        tiny.generator, start, targets, recipe, networks={"perceptual": tiny.perceptual}
    )
    assert result.status == ["not finite"] * 8
    assert torch.equal(result.latents.code, start.code)


def test_a_broken_image_stays_broken_after_resumption(tiny):
    recipe = get("w+ +noise").with_steps(8)
    spoiled = Spoiled(tiny.perceptual, 2, 3, Value)
    whole, files = states_of(tiny, recipe, networks={"perceptual": spoiled})
    assert whole.status[2] == "not finite"
    for index in (5, 9, 11):
        state = torch.load(io.BytesIO(files[index]), weights_only=True)
        assert bits(go(tiny, recipe, state=state), whole)
