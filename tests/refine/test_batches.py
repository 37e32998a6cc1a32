"""Oracle: single runs. Images of a batch never influence one another, early stopping included."""

from dataclasses import replace

import pytest
import torch
from refine_helpers import NAMES, go, one_phase, total

from facsimile import metrics, stylegan
from facsimile.refine import Phase, Recipe, Term, Variable, refine
from facsimile.refine.engine import SYNC_EVERY
from facsimile.refine.recipes import RECIPES, get

# make test-fast runs one of them.
SLOW = ("z", "w+", "p_n+", "s", "f/s", "f/z+", "in-domain", "w+ +noise", "f/z+ +joint-noise")


def _marks(name):
    if name == "f/z+ +noise":
        return ()
    return pytest.mark.slow if name in SLOW else pytest.mark.exhaustive


NAMES_WITH_MARKS = [pytest.param(name, marks=_marks(name)) for name in NAMES]


@pytest.mark.parametrize("name", NAMES_WITH_MARKS)
def test_a_batch_is_its_single_runs(tiny, name):
    """Early stopping included: images leave at different steps."""
    # Some recipes go down faster than others.
    min_rel_delta = 0.08 if "joint" in name else 0.03 if name == "z" else 0.05
    recipe = get(name).with_steps(30).with_patience(3, min_rel_delta=min_rel_delta)
    together = go(tiny, recipe)
    images = together.latents.synthesize(tiny.generator)
    assert len(set(together.steps)) > 1
    assert len(images) == 8
    # Every image of one recipe, and of the others those that stop first and last.
    ends = [together.steps.index(f(together.steps)) for f in (min, max)]
    for row in range(8) if name == "w+" else ends:
        alone = go(tiny, recipe, rows=[row])
        image = alone.latents.synthesize(tiny.generator)
        torch.testing.assert_close(images[row : row + 1], image, atol=1e-6, rtol=0)
        assert together.status[row] == alone.status[0]
        assert together.steps[row] == alone.steps[0]
        for key, values in alone.history.items():
            torch.testing.assert_close(
                together.history[key][:, row], values[:, 0], equal_nan=True, atol=1e-5, rtol=1e-4
            )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        x if x in ("w+", "f/z+", "s") else pytest.param(x, marks=pytest.mark.exhaustive)
        for x in (*RECIPES, "w+ +noise")
    ],
)
def test_a_batch_is_its_single_runs_in_float32(
    generator, perceptual, make_toy_encoder, targets, name
):
    """Rounding, which the steps amplify, stays below 2 % of every score."""
    recipe = get(name).with_steps(12)
    start = stylegan.init_latents(generator, recipe.space, len(targets))
    networks = {"perceptual": perceptual, "encoder": make_toy_encoder(generator)}

    def score(rows):
        run = refine(generator, start[rows], targets[rows], recipe, networks=networks)
        image = run.latents.synthesize(generator).clamp(-1, 1)
        return metrics.mse(image, targets[rows]), perceptual(image, targets[rows])

    for both, alone in zip(score([0, 1, 2, 3]), score([3]), strict=True):
        torch.testing.assert_close(both[[3]], alone, rtol=0.02, atol=0)


@pytest.mark.parametrize("name", ["w+", "f/z+"])
def test_a_batch_is_its_single_runs_where_rates_fall(tiny, name):
    recipe = get(name).with_steps(60).with_patience(3, min_rel_delta=0.05, halvings=2)
    together = go(tiny, recipe)
    assert len(set(together.steps)) > 1
    for row in (0, 3, 6):
        alone = go(tiny, recipe, rows=[row])
        assert together.steps[row] == alone.steps[0]
        for key, values in alone.history.items():
            torch.testing.assert_close(
                together.history[key][:, row], values[:, 0], equal_nan=True, atol=1e-5, rtol=1e-4
            )


def test_an_image_goes_on_with_half_its_rate_before_it_stops(tiny):
    """By hand: the loss of a still image never improves; its steps are as long as its rate."""
    codes, rates = [], []
    recipe = one_phase(steps=50, lr=0.1, patience=4, halvings=2, min_rel_delta=0.999)

    def watch(step):
        images = step.state()["images"]
        codes.extend(images["variables"]["code"])
        rates.extend(images["halvings"].tolist())

    result = go(tiny, recipe, rows=[0], callback=watch)
    # Three times the patience: at the rate, at a half, at a quarter of it.
    assert result.steps == [3 * 4]
    assert result.status == ["stopped early"]
    assert rates == [0] * 4 + [1] * 4 + [2] * 4
    lengths = [
        float((b - a).square().mean().sqrt()) for a, b in zip(codes, codes[1:], strict=False)
    ]
    # Adam's steps are as long as its rate, or a little shorter.
    for length, rate in zip(lengths, rates[1:], strict=False):
        assert length <= 0.1 * 0.5**rate * 1.05


def test_an_image_stops_at_its_goal(tiny):
    """Oracle: the loss of a run without a goal."""
    free = go(tiny, one_phase(steps=30))
    losses = total(free, "code")
    goal = float(losses[15].median())
    result = go(tiny, one_phase(steps=30, goal=goal))
    reached = losses.cummin(0).values <= goal
    for row in range(8):
        if reached[:, row].any():
            assert result.status[row] == "reached its goal"
            assert result.steps[row] == int(reached[:, row].int().argmax())
        else:
            assert (result.status[row], result.steps[row]) == ("done", 30)
    assert len(set(result.status)) == 2


def test_images_stop_early_and_say_so(tiny):
    recipe = get("w+").with_steps(50).with_patience(3, min_rel_delta=0.02)
    result = go(tiny, recipe)
    assert set(result.status) == {"done", "stopped early"}
    for row, (status, steps) in enumerate(zip(result.status, result.steps, strict=True)):
        seen = total(result, "code")[:, row].isfinite()
        # One look at the start, and one after every step.
        assert seen.sum() == steps + 1
        assert seen[: steps + 1].all()
        assert (steps == 50) == (status == "done")
    assert go(tiny, recipe.with_patience(None)).steps == [50] * 8


@pytest.mark.parametrize("name", ["w+ +noise", "z+", "f/z +joint-noise"])
def test_looking_seldom_changes_nothing(tiny, monkeypatch, name):
    """As on a GPU, where images that have stopped stay in the batch for some steps."""
    recipe = get(name).with_steps(30).with_patience(3, min_rel_delta=0.05)
    targets = tiny.targets.clone()
    targets[1, 0, 0, 0] = torch.nan
    found = []
    for steps in (1, 7):
        monkeypatch.setitem(SYNC_EVERY, "cpu", steps)
        start = tiny.start(recipe.space)
        found.append(
            refine(tiny.generator, start, targets, recipe, networks={"perceptual": tiny.perceptual})
        )
    often, seldom = found
    assert len(set(often.steps)) > 2
    assert {"stopped early", "not finite"} <= set(often.status)
    assert (often.status, often.steps) == (seldom.status, seldom.steps)
    for key, x in often.latents.tensors().items():
        torch.testing.assert_close(seldom.latents.tensors()[key], x, atol=1e-9, rtol=0)
    for key, x in often.history.items():
        torch.testing.assert_close(seldom.history[key], x, equal_nan=True)


def test_patience_counts_steps_without_a_gain(tiny):
    """With a rate of 0 nothing ever gains: `patience` looks after the first."""
    result = go(tiny, one_phase(lr=0.0, patience=4))
    assert result.steps == [4] * 8
    assert result.status == ["stopped early"] * 8


def test_anchors_hold_each_image_to_its_own_start(tiny):
    terms = (Term("pixel", 1.0), Term("feature_reg", 1.0), Term("latent_reg", 1.0))
    variables = (Variable("code", 0.01), Variable("feature", 0.01))
    free = Phase(
        name="code", variables=variables, terms=terms[:1], steps=40, patience=3, min_rel_delta=0.03
    )
    held = replace(free, terms=terms)
    start = tiny.start("f/w+")
    strays = []
    # The ones that leave first come first, so that the rows of those which stay change.
    order = list(range(8))[::-1]
    for phase in (free, held):
        recipe = Recipe(name="test", space="f/w+", phases=(phase,))
        result = go(tiny, recipe, rows=order)
        strays.append((result.latents.feature - start.feature[order]).square().mean())
        assert len(set(result.steps)) > 3
        for index in (0, 4, 7):
            alone = go(tiny, recipe, rows=[order[index]])
            torch.testing.assert_close(result.latents.feature[[index]], alone.latents.feature)
    assert strays[1] < 0.8 * strays[0]


def test_order_does_not_count(tiny):
    recipe = get("f/z+").with_steps(10)
    order = [3, 0, 7]
    some, all_ = go(tiny, recipe, rows=order), go(tiny, recipe)
    images = all_.latents.synthesize(tiny.generator)[order]
    torch.testing.assert_close(some.latents.synthesize(tiny.generator), images, atol=1e-9, rtol=0)
