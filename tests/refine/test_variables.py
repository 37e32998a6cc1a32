"""Terms and masks of single variables, the phase before as a target, losses in their own unit.

Oracles: plain recipes that come to the same, and values that must not move at all.
"""

import io
from dataclasses import replace

import pytest
import torch
from refine_helpers import bits, go, one_phase, states_of, total

from facsimile.refine import Phase, Recipe, Term, Variable
from facsimile.refine.recipe import BEFORE

PIXEL, PERCEPTUAL = Term("pixel", 1.0), Term("perceptual", 2.0)
JOINT = Phase(
    name="joint",
    variables=(Variable("code", 0.1), Variable("noise", 0.1)),
    terms=(PIXEL, PERCEPTUAL),
    steps=1,
    optimiser="gradient-descent",
)
CODE = one_phase(steps=4).phases[0]
NOISE = Phase(name="noise", variables=(Variable("noise", 0.1),), terms=(PIXEL,), steps=6)


def recipe(*phases):
    return Recipe(name="test", space="w+", phases=phases)


def test_a_term_moves_its_own_variables_alone(tiny):
    """Oracle: the noise of a step by the pixels alone, the code of a step by both terms."""
    terms = (PIXEL, replace(PERCEPTUAL, variables=("code",)))
    result = go(tiny, recipe(replace(JOINT, terms=terms)))
    assert "joint/perceptual of code" in result.history
    both = go(tiny, recipe(JOINT)).latents
    pixels = go(tiny, recipe(replace(JOINT, terms=(PIXEL,)))).latents
    torch.testing.assert_close(result.latents.code, both.code, atol=1e-12, rtol=0)
    for mine, expected, other in zip(result.latents.noise, pixels.noise, both.noise, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-12, rtol=0)
        assert not torch.equal(mine, other)


def test_a_variable_that_no_term_moves_stays(tiny):
    terms = (replace(PIXEL, variables=("code",)),)
    result = go(tiny, recipe(replace(JOINT, terms=terms)))
    for mine, start in zip(result.latents.noise, tiny.generator.noise_maps(8), strict=True):
        assert torch.equal(mine, start)


@pytest.mark.parametrize("halvings", [0, 2])
def test_noise_stays_outside_its_mask(tiny, halvings):
    mask = torch.zeros(8, 1, 8, 8, dtype=torch.float64)
    mask[..., :4] = 1
    masked = replace(NOISE, variables=(replace(NOISE.variables[0], mask="here"),))
    masked = replace(masked, halvings=halvings, patience=4)
    result = go(tiny, recipe(masked), masks={"here": mask})
    for mine, start in zip(result.latents.noise, tiny.generator.noise_maps(8), strict=True):
        half = mine.shape[-1] // 2
        assert torch.equal(mine[..., half:], start[..., half:])
        assert not torch.equal(mine[..., :half], start[..., :half])
    ones = go(tiny, recipe(masked), masks={"here": torch.ones_like(mask)})
    plain = go(tiny, recipe(replace(NOISE, halvings=halvings, patience=4)))
    for mine, expected in zip(ones.latents.noise, plain.latents.noise, strict=True):
        torch.testing.assert_close(mine, expected)


def test_the_phase_before_is_a_target(tiny):
    """With it alone the noise is there already; beside another, it holds the picture back."""
    before = (Term("pixel", 1.0, target=BEFORE), Term("perceptual", 1.0, target=BEFORE))
    stay = go(tiny, recipe(CODE, replace(NOISE, terms=before)))
    assert (total(stay, "noise")[0] < 1e-20).all()
    code = go(tiny, recipe(CODE)).latents
    assert torch.equal(stay.latents.code, code.code)
    held = go(tiny, recipe(CODE, replace(NOISE, terms=(PIXEL, Term("pixel", 9.0, None, BEFORE)))))
    free = go(tiny, recipe(CODE, NOISE))
    image = code.synthesize(tiny.generator)
    strays = [(x.latents.synthesize(tiny.generator) - image).square().mean() for x in (held, free)]
    assert strays[0] < 0.5 * strays[1]


def test_resumed_in_the_second_phase(tiny):
    """Also where images have stopped: what a phase began with does not change."""
    terms = (PIXEL, Term("perceptual", 1.0, target=BEFORE))
    noise = replace(NOISE, terms=terms, patience=2, min_rel_delta=0.1, initial_loss=0.3)
    whole, files = states_of(tiny, recipe(CODE, noise))
    for index in (2, 6, len(files) - 1):
        state = torch.load(io.BytesIO(files[index]), weights_only=True)
        assert bits(go(tiny, recipe(CODE, noise), state=state), whole)


def test_gradient_descent_in_a_unit_of_its_own(tiny):
    """Oracle: each image alone, with the rate 0.8 x 0.3 / its first loss."""
    descent = replace(CODE, optimiser="gradient-descent", initial_loss=0.3)
    descent = replace(descent, variables=(Variable("code", 0.8),))
    together = go(tiny, recipe(descent))
    for row in (0, 5):
        lr = 0.8 * 0.3 / float(total(together, "code")[0, row])
        plain = replace(descent, initial_loss=None, variables=(Variable("code", lr),))
        alone = go(tiny, recipe(plain), rows=[row])
        torch.testing.assert_close(
            together.latents.code[[row]], alone.latents.code, atol=1e-6, rtol=0
        )


def test_a_batch_is_its_single_runs(tiny):
    """With all of these at once, and images that stop at different steps."""
    mask = (torch.rand(8, 1, 8, 8) > 0.4).double()
    code = replace(CODE, initial_loss=0.3, optimiser="gradient-descent", steps=8)
    noise = replace(
        NOISE,
        variables=(replace(NOISE.variables[0], mask="here"), Variable("code", 0.01)),
        terms=(
            replace(PIXEL, mask="here"),
            Term("pixel", 2.0, None, BEFORE, variables=("noise",)),
            replace(PERCEPTUAL, variables=("code",)),
        ),
        steps=20,
        patience=3,
        min_rel_delta=0.02,
    )
    together = go(tiny, recipe(code, noise), masks={"here": mask})
    assert len(set(together.steps)) > 1
    for row in (0, 3, 7):
        alone = go(tiny, recipe(code, noise), rows=[row], masks={"here": mask[[row]]})
        assert together.steps[row] == alone.steps[0]
        for name, x in alone.latents.tensors().items():
            torch.testing.assert_close(together.latents.tensors()[name][[row]], x)


def test_what_does_not_fit(tiny):
    with pytest.raises(ValueError, match='is for the variable "noise", and the phase optimises'):
        replace(CODE, terms=(replace(PIXEL, variables=("noise",)),))
    with pytest.raises(ValueError, match='gives the code the mask "here".*by `inputs`'):
        replace(CODE, variables=(Variable("code", 0.1, mask="here"),))
    masked = replace(NOISE, variables=(replace(NOISE.variables[0], mask="here"),))
    with pytest.raises(ValueError, match='the variable "noise" has the mask "here".*pass masks'):
        go(tiny, recipe(masked))
