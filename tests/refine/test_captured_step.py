"""Captured steps are the steps themselves: a stand-in replays them on the CPU (tests/replay.py)."""

import io
import logging

import pytest
import torch
from refine_helpers import go, one_phase
from replay import Replay

from facsimile.refine import Term, captured_step, terms
from facsimile.refine.captured_step import WARM_UP, StepRunner
from facsimile.refine.recipe import Schedule
from facsimile.refine.recipes import RECIPES, get


@pytest.fixture(autouse=True)
def captures(monkeypatch):
    monkeypatch.setattr(Replay, "captures", 0)
    monkeypatch.setattr(captured_step, "WORTH", 2)


def replayed(device):
    return Replay


def same(a, b):
    for name, x in a.latents.tensors().items():
        torch.testing.assert_close(x, b.latents.tensors()[name], atol=1e-9, rtol=1e-7)
    for name, x in a.history.items():
        torch.testing.assert_close(x, b.history[name], equal_nan=True)
    assert (a.status, a.steps) == (b.status, b.steps)


SHOWN = ("f/z+ +noise", "s", "w+ +redrawn-noise")
OTHERS = [pytest.param(name, marks=pytest.mark.exhaustive) for name in RECIPES if name not in SHOWN]


@pytest.mark.parametrize("name", [*SHOWN, *OTHERS])
def test_every_recipe_replayed_is_the_recipe(tiny, name):
    recipe = get(name).with_steps(7)
    same(go(tiny, recipe, rows=[0, 1], graphs=replayed), go(tiny, recipe, rows=[0, 1]))
    long = sum(phase.steps > WARM_UP + 1 for phase in recipe.phases)
    assert Replay.captures >= long


def test_images_that_stop_early(tiny, monkeypatch):
    """Every change of the batch is captured anew."""
    monkeypatch.setattr(captured_step, "WARM_UP", 1)
    recipe = get("w+").with_steps(20).with_patience(2, min_rel_delta=0.05)
    plain = go(tiny, recipe)
    assert len(set(plain.steps)) > 1
    same(go(tiny, recipe, graphs=replayed), plain)
    assert Replay.captures > 1


def test_two_phases(tiny):
    recipe = get("w+ +noise").with_steps(12)
    same(go(tiny, recipe, rows=[2], graphs=replayed), go(tiny, recipe, rows=[2]))


def test_a_goal_and_a_schedule(tiny):
    schedule = Schedule(rampup=0.2, rampdown=0.5)
    goal = float(
        go(tiny, one_phase(steps=30, schedule=schedule)).history["code/pixel"][15].median()
    )
    recipe = one_phase(steps=30, schedule=schedule, goal=goal)
    plain = go(tiny, recipe)
    assert "reached its goal" in plain.status
    same(go(tiny, recipe, graphs=replayed), plain)


def test_callbacks_see_every_step_and_a_state_resumes(tiny):
    recipe, seen, files = one_phase(steps=9), [], []

    def keep(step):
        seen.append((step.done, {name: x.clone() for name, x in step.losses.items()}, step.losses))
        if step.done == 6 and not files:
            files.append(io.BytesIO())
            torch.save(step.state(), files[0])

    whole = go(tiny, recipe, rows=[0], callback=keep, graphs=replayed)
    assert [done for done, *_ in seen] == [*range(1, 10), 9]
    for _, at_once, later in seen:  # what a callback was given, stays
        assert all(torch.equal(x, later[name]) for name, x in at_once.items())
    files[0].seek(0)
    state = torch.load(files[0], weights_only=True)
    same(go(tiny, recipe, rows=[0], state=state, graphs=replayed), whole)
    same(whole, go(tiny, recipe, rows=[0]))


def test_what_cannot_be_captured_runs_as_it_is(tiny, monkeypatch, caplog):
    """And one sentence says so, once."""

    def stubborn(inputs, term):
        value = inputs.difference(term).square().flatten(1).mean(1)
        return value * (1 + 0 * float(value.detach().sum()))

    monkeypatch.setitem(terms.TERMS, "stubborn", terms.TermFunction(stubborn))
    recipe = one_phase(steps=8, terms=(Term("stubborn", 1.0),))
    with caplog.at_level(logging.WARNING):
        result = go(tiny, recipe, rows=[0, 1], graphs=replayed)
    (record,) = caplog.records
    assert "cannot be captured" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert Replay.captures == 0
    same(result, go(tiny, recipe, rows=[0, 1]))


def test_inputs_are_copied_in_and_outputs_are_the_callers():
    state = torch.zeros(1)

    def body(inputs):
        state.add_(inputs["x"])
        return {"sum": state * 2}

    runner, found = StepRunner(body, Replay), []
    for number in range(1, 9):
        found.append(runner({"x": torch.tensor([float(number)])}, left=9 - number)["sum"])
        assert runner.captured == (number > WARM_UP)
    assert [int(x) for x in found] == [n * (n + 1) for n in range(1, 9)]
    assert Replay.captures == 1


def test_a_few_steps_are_not_worth_a_capture():
    runner = StepRunner(lambda inputs: {}, Replay)
    for _ in range(9):
        runner({}, left=1)
    assert not runner.captured
