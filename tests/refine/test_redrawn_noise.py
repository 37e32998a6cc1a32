"""Noise that is drawn anew at every step: the same draws for every image and in every run."""

import copy
import io
from dataclasses import replace

import pytest
import torch
from refine_helpers import bits, go, one_phase, states_of

from facsimile.refine import Variable, active_images
from facsimile.refine.recipes import get


def test_the_draws(tiny):
    """One for each step and phase, of the sizes of the generator's own maps."""
    (phase,) = one_phase().phases
    first = active_images._drawn_noise(phase, 0, tiny.generator)
    maps = tiny.generator.noise_maps(1)
    assert [x.shape for x in first] == [x.shape for x in maps]
    again = active_images._drawn_noise(phase, 0, tiny.generator)
    others = (
        active_images._drawn_noise(phase, 1, tiny.generator),
        active_images._drawn_noise(replace(phase, name="other"), 0, tiny.generator),
        maps,
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for other in others:
        assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert abs(float(first[-1].std()) - 1) < 0.2


def test_each_loss_is_that_of_its_draw(tiny):
    """By hand: with a rate of almost 0 the latents stay, and the losses follow the noise."""
    recipe = one_phase(steps=3, lr=1e-12, redraw_noise=True)
    result, start = go(tiny, recipe), tiny.start("w+")
    for step in range(4):
        noise = active_images._drawn_noise(recipe.phases[0], step, tiny.generator)
        image = replace(start, noise=noise).synthesize(tiny.generator)
        error = (image - tiny.targets).square().mean((1, 2, 3))
        torch.testing.assert_close(result.history["code/pixel"][step], error.float())
    assert result.latents.noise is None


def test_a_batch_is_its_single_runs(tiny):
    recipe = get("w+ +redrawn-noise").with_steps(12).with_patience(2, min_rel_delta=0.1)
    together = go(tiny, recipe)
    assert len(set(together.steps)) > 1
    for row in (0, 5):
        alone = go(tiny, recipe, rows=[row])
        assert together.steps[row] == alone.steps[0]
        for key, values in alone.history.items():
            torch.testing.assert_close(
                together.history[key][:, row], values[:, 0], equal_nan=True, atol=1e-5, rtol=1e-4
            )


def test_a_resumed_run_is_an_uninterrupted_one(tiny):
    recipe = get("f/z+ +redrawn-noise +noise").with_steps(5)
    assert [phase.redraw_noise for phase in recipe.phases] == [True, False]
    whole, files = states_of(tiny, recipe)
    for index in (2, len(files) - 1):
        state = torch.load(io.BytesIO(files[index]), weights_only=True)
        assert bits(go(tiny, recipe, state=state), whole)


def test_one_constant_draw_is_as_before(tiny):
    """Where noise has no strength, both recipes are the same to the last bit; else they differ."""
    constant, redrawn = (get(name).with_steps(3) for name in ("w+", "w+ +redrawn-noise"))
    assert not bits(go(tiny, constant), go(tiny, redrawn))
    silent = copy.copy(tiny)
    silent.generator = copy.deepcopy(tiny.generator)
    with torch.no_grad():
        for module in silent.generator.synthesis.noise_inputs:
            module.noise_strength.zero_()
    start = replace(tiny.start("w+"), fingerprint=silent.generator.fingerprint)
    assert bits(go(silent, constant, start=start), go(silent, redrawn, start=start))


def test_a_phase_does_one_of_both():
    with pytest.raises(ValueError, match="optimises noise maps and redraws them at every step"):
        replace(one_phase().phases[0], variables=(Variable("noise", 1.0),), redraw_noise=True)
    phases = get("w+ +joint-noise +redrawn-noise").phases
    assert not any(phase.redraw_noise for phase in phases)
