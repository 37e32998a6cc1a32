"""Oracles: one step by hand, and parts that must not move."""

import pytest
import torch

from facsimile.refine import Phase, Recipe, Term, Variable, refine

PIXEL = (Term("pixel", 1.0),)


def recipe(space, *variables, steps=1, **options):
    phase = Phase(name="only", variables=variables, terms=PIXEL, steps=steps, **options)
    return Recipe(name="test", space=space, phases=(phase,))


def gradients(tiny, latents):
    """Of the sum over images of the mean squared error, by the name of the tensor."""
    leaves = {name: x.clone().requires_grad_() for name, x in latents.tensors().items()}
    image = latents.with_tensors(leaves).synthesize(tiny.generator)
    loss = (image - tiny.targets).square().mean((1, 2, 3)).sum()
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return dict(zip(leaves, found, strict=True))


def moved(tiny, recipe, start):
    """Where the variables are after the last step, the best or not."""
    states = []
    refine(
        tiny.generator,
        start,
        tiny.targets,
        recipe,
        callback=lambda step: states.append(step.state()["images"]["variables"]),
    )
    return states[-1]


def with_noise(tiny, space):
    start = tiny.start(space)
    maps = {f"noise.{i}": m for i, m in enumerate(tiny.generator.noise_maps(8))}
    return start.with_tensors(start.tensors() | maps)


@pytest.mark.parametrize("space", ["w", "w+", "s", "p_n+", "f/w+"])
def test_one_step_of_gradient_descent(tiny, space):
    start = with_noise(tiny, space)
    names = ["code", "noise"] + ["feature"] * space.startswith("f/")
    rates = dict(zip(names, (0.1, 0.7, 0.3), strict=False))
    variables = [Variable(name, lr) for name, lr in rates.items()]
    after = moved(tiny, recipe(space, *variables, optimiser="gradient-descent"), start)
    slopes = gradients(tiny, start)
    assert {name.partition(".")[0] for name in after} == set(names)
    for name, x in after.items():
        slope = torch.zeros_like(x) if slopes[name] is None else slopes[name]
        expected = start.tensors()[name] - rates[name.partition(".")[0]] * slope
        torch.testing.assert_close(x, expected, atol=1e-13, rtol=0)


def test_one_step_of_adam(tiny):
    """The first step is lr g / (|g| + eps), whatever the betas."""
    start = with_noise(tiny, "w+")
    variables = (Variable("code", 0.1), Variable("noise", 0.2, lr_per_noise_strength=True))
    after = moved(tiny, recipe("w+", *variables, eps=1e-4, betas=(0.5, 0.9)), start)
    slopes = gradients(tiny, start)
    for name, x in after.items():
        rate = 0.1
        if name != "code":
            rate = 0.2 / tiny.generator.noise_strengths[int(name.partition(".")[2])]
        slope = slopes[name]
        expected = start.tensors()[name] - rate * slope / (slope.abs() + 1e-4)
        torch.testing.assert_close(x, expected, atol=1e-12, rtol=0)


def test_on_the_sphere_the_step_is_retracted(tiny):
    start = tiny.start("z+")
    variable = Variable("code", 5.0)
    after = moved(tiny, recipe("z+", variable, optimiser="gradient-descent"), start)["code"]
    x = start.code - 5.0 * gradients(tiny, start)["code"]
    assert (x.norm(dim=-1) - 8**0.5).abs().max() > 1e-4
    expected = x * 8**0.5 / x.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(after, expected, atol=1e-12, rtol=0)


def test_only_some_style_inputs_move(tiny):
    start = tiny.start("w+")
    after = moved(tiny, recipe("w+", Variable("code", 0.1, inputs=(1, -1)), steps=5), start)["code"]
    change = (after - start.code).abs().amax((0, 2))
    assert (change > 0).tolist() == [False, True, False, True]
    # Still inputs of a sphere are retracted onto where they are.
    start = tiny.start("z+")
    after = moved(tiny, recipe("z+", Variable("code", 0.1, inputs=(0,)), steps=5), start)["code"]
    torch.testing.assert_close(after[:, 1:], start.code[:, 1:], atol=1e-12, rtol=0)
    assert (after[:, 0] - start.code[:, 0]).abs().max() > 0.01


def test_only_some_noise_maps_move(tiny):
    start = tiny.start("w+")
    variable = Variable("noise", 0.1, inputs=(0, -1))
    result = refine(tiny.generator, start, tiny.targets, recipe("w+", variable, steps=5))
    constant = tiny.generator.noise_maps(8)
    same = [torch.equal(a, b) for a, b in zip(result.latents.noise, constant, strict=True)]
    assert same == [False, True, False]
    assert torch.equal(result.latents.code, start.code)


@pytest.mark.parametrize("name", ["code", "feature", "noise"])
def test_only_the_variables_move(tiny, name):
    start = with_noise(tiny, "f/w+")
    result = refine(tiny.generator, start, tiny.targets, recipe("f/w+", Variable(name, 0.1)))
    for key, x in result.latents.tensors().items():
        # The first noise map acts before the feature.
        moves = key.partition(".")[0] == name and key != "noise.0"
        assert torch.equal(x, start.tensors()[key]) == (not moves), key


def test_feature_alone(tiny):
    """Inputs before the feature have no gradient, and then do not move."""
    start = tiny.start("f/w+")
    after = moved(tiny, recipe("f/w+", Variable("code", 0.1), steps=4), start)["code"]
    first = start.first_ws_index(tiny.generator)
    assert first == 1
    assert torch.equal(after[:, :first], start.code[:, :first])
    assert (after[:, first:] - start.code[:, first:]).abs().amax((0, 2)).min() > 0.01


def test_variables_that_are_not_there(tiny):
    with pytest.raises(ValueError, match='the space "w" has no feature to optimise'):
        moved(tiny, recipe("w", Variable("feature", 0.1)), tiny.start("w"))
    with pytest.raises(
        ValueError, match='"w" has one code for all style inputs.*a space with a \\+'
    ):
        moved(tiny, recipe("w", Variable("code", 0.1, inputs=(0,))), tiny.start("w"))
