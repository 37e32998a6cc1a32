"""Oracle: single runs. Images of a batch never influence one another, early stopping included."""

from dataclasses import replace

import pytest
import torch
from runs_of_little import NAMES, go, one_phase, total

from facsimile import metrics, stylegan
from facsimile.refine import Phase, Recipe, Term, Variable, refine
from facsimile.refine.engine import LOOK_EVERY
from facsimile.refine.recipes import RECIPES, get


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_single_runs(little, name):
    """Early stopping included: images leave at different steps."""
    # Some recipes go down faster than others.
    gain = 0.05 if "joint" in name else 0.03
    recipe = get(name).with_steps(50).with_patience(3, gain=gain)
    together = go(little, recipe)
    images = together.latents.draw(little.generator)
    assert len(set(together.steps)) > 1
    assert len(images) == 8
    # Every image where the code alone moves; with noise maps a few of them.
    for row in range(8) if name in RECIPES else (0, 6):
        alone = go(little, recipe, rows=[row])
        image = alone.latents.draw(little.generator)
        torch.testing.assert_close(images[row : row + 1], image, atol=1e-6, rtol=0)
        assert together.status[row] == alone.status[0]
        assert together.steps[row] == alone.steps[0]
        for key, values in alone.history.items():
            torch.testing.assert_close(
                together.history[key][:, row], values[:, 0], equal_nan=True, atol=1e-5, rtol=1e-4
            )


@pytest.mark.parametrize("name", [*RECIPES, "w+ +noise"])
def test_a_batch_is_its_single_runs_in_float32(generator, perceptual, make_guess, targets, name):
    """Rounding, which the steps amplify, stays below 2 % of every score."""
    recipe = get(name).with_steps(30)
    start = stylegan.init_latents(generator, recipe.space, len(targets))
    networks = {"perceptual": perceptual, "encoder": make_guess(generator)}

    def score(rows):
        run = refine(generator, start[rows], targets[rows], recipe, **networks)
        image = run.latents.draw(generator).clamp(-1, 1)
        return metrics.mse(image, targets[rows]), perceptual(image, targets[rows])

    together = score([0, 1, 2, 3])
    for row in (0, 3):
        for both, alone in zip(together, score([row]), strict=True):
            torch.testing.assert_close(both[[row]], alone, rtol=0.02, atol=0)


def test_images_stop_early_and_say_so(little):
    recipe = get("w+").with_steps(50).with_patience(3, gain=0.02)
    result = go(little, recipe)
    assert set(result.status) == {"done", "stopped early"}
    for row, (status, steps) in enumerate(zip(result.status, result.steps, strict=True)):
        seen = total(result, "code")[:, row].isfinite()
        # One look at the start, and one after every step.
        assert seen.sum() == steps + 1
        assert seen[: steps + 1].all()
        assert (steps == 50) == (status == "done")
    assert go(little, recipe.with_patience(None)).steps == [50] * 8


@pytest.mark.parametrize("name", ["w+ +noise", "z+", "f/z +joint-noise"])
def test_looking_seldom_changes_nothing(little, monkeypatch, name):
    """As on a GPU, where images that have stopped stay in the batch for some steps."""
    recipe = get(name).with_steps(30).with_patience(3, gain=0.05)
    targets = little.targets.clone()
    targets[1, 0, 0, 0] = torch.nan
    found = []
    for steps in (1, 7):
        monkeypatch.setitem(LOOK_EVERY, "cpu", steps)
        start = little.start(recipe.space)
        found.append(refine(little.generator, start, targets, recipe, perceptual=little.perceptual))
    often, seldom = found
    assert len(set(often.steps)) > 2
    assert {"stopped early", "not finite"} <= set(often.status)
    assert (often.status, often.steps) == (seldom.status, seldom.steps)
    for key, x in often.latents.tensors().items():
        torch.testing.assert_close(seldom.latents.tensors()[key], x, atol=1e-9, rtol=0)
    for key, x in often.history.items():
        torch.testing.assert_close(seldom.history[key], x, equal_nan=True)


def test_patience_counts_steps_without_a_gain(little):
    """With a rate of 0 nothing ever gains: `patience` looks after the first."""
    result = go(little, one_phase(lr=0.0, patience=4))
    assert result.steps == [4] * 8
    assert result.status == ["stopped early"] * 8


def test_anchors_hold_each_image_to_its_own_start(little):
    terms = (Term("pixel", 1.0), Term("feature_anchor", 1.0), Term("code_anchor", 1.0))
    variables = (Variable("code", 0.01), Variable("feature", 0.01))
    free = Phase(name="code", variables=variables, terms=terms[:1], steps=40, patience=3, gain=0.03)
    held = replace(free, terms=terms)
    start = little.start("f/w+")
    strays = []
    # The ones that leave first come first, so that the rows of those which stay change.
    order = list(range(8))[::-1]
    for phase in (free, held):
        recipe = Recipe(name="test", space="f/w+", phases=(phase,))
        result = go(little, recipe, rows=order)
        strays.append((result.latents.feature - start.feature[order]).square().mean())
        assert len(set(result.steps)) > 3
        for index in (0, 4, 7):
            alone = go(little, recipe, rows=[order[index]])
            torch.testing.assert_close(result.latents.feature[[index]], alone.latents.feature)
    assert strays[1] < 0.8 * strays[0]


def test_order_does_not_count(little):
    recipe = get("f/z+").with_steps(10)
    order = [3, 0, 7]
    some, all_ = go(little, recipe, rows=order), go(little, recipe)
    images = all_.latents.draw(little.generator)[order]
    torch.testing.assert_close(some.latents.draw(little.generator), images, atol=1e-9, rtol=0)
