"""Oracle: uninterrupted runs, bit for bit."""

import io
from dataclasses import replace

import pytest
import torch
from refine_helpers import bits, go, states_of

from facsimile.refine import state_after
from facsimile.refine.recipes import get


@pytest.mark.parametrize("name", ["w+ +noise", "f/z+ +joint-noise", "s", "z +noise"])
def test_resumed_runs_are_uninterrupted_ones(tiny, name):
    """Across the end of a phase too, and with images that have stopped already."""
    recipe = get(name).with_steps(24).with_patience(3, min_rel_delta=0.1)
    whole, files = states_of(tiny, recipe)
    assert len(set(whole.steps)) > 1
    phases = set()
    for index in {0, 1, 7, 12, 23, 24, 25, 30, len(files) - 2, len(files) - 1}:
        if not 0 <= index < len(files):
            continue
        state = torch.load(io.BytesIO(files[index]), weights_only=True)
        phases.add(state["phase"])
        assert bits(go(tiny, recipe, state=state), whole)
    assert len(phases) == len(recipe.phases)


@pytest.mark.parametrize("name", ["w+ +noise", "f/z+ +noise"])
def test_a_run_goes_on_after_its_first_phase(tiny, name):
    """Oracle: all phases at once."""
    recipe = get(name).with_steps(8).for_networks({"perceptual": tiny.perceptual})
    whole = go(tiny, recipe)
    first = go(tiny, replace(recipe, phases=recipe.phases[:1]))
    state = state_after(recipe, 1, first.latents, first.steps)
    rest = go(tiny, recipe, state=state)
    assert (rest.steps, rest.status) == (whole.steps, whole.status)
    for key, x in whole.latents.tensors().items():
        assert torch.equal(rest.latents.tensors()[key], x)
    assert rest.history.keys() == {x for x in whole.history if x.startswith("noise/")}


def test_resumption_goes_through_callbacks_again(tiny):
    recipe = get("w+ +noise").with_steps(6)
    whole, first = states_of(tiny, recipe)
    state = torch.load(io.BytesIO(first[4]), weights_only=True)
    again, second = states_of(tiny, recipe, state=state)
    assert bits(again, whole)
    assert len(second) == len(first) - 5


def test_a_state_is_a_snapshot(tiny):
    """Held in memory while the run goes on, and good for more than one resumption."""
    recipe = get("w+ +noise").with_steps(12).with_patience(3, min_rel_delta=0.05)
    held = []
    whole = go(tiny, recipe, callback=lambda step: held.append(step.state()))
    assert "stopped early" in whole.status
    for state in (held[1], held[5], held[-3]):
        assert bits(go(tiny, recipe, state=state), whole)
        assert bits(go(tiny, recipe, state=state), whole)


def test_the_state_of_another_recipe(tiny):
    _, files = states_of(tiny, get("w+").with_steps(2))
    state = torch.load(io.BytesIO(files[0]), weights_only=True)
    with pytest.raises(ValueError, match="the state is of another recipe: .*; expected Recipe"):
        go(tiny, get("w+").with_steps(3), state=state)
