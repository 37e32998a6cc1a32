"""A training step of every encoder on an Apple GPU, which tests/apple.py emulates."""

import math

import pytest
from apple import AppleTensor, apple

from facsimile.encoders import KINDS

KINDS_HERE = [
    kind if kind == "in-domain" else pytest.param(kind, marks=pytest.mark.exhaustive)
    for kind in KINDS
    if kind != "editor"  # needs other encoders
]


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_a_step_of_training(make_recipe, train_step, monkeypatch, kind):
    with apple(monkeypatch):
        recipe = make_recipe(kind, device="mps")
        assert all(isinstance(x, AppleTensor) for x in recipe.encoder.parameters())
        losses = train_step(recipe, 0, 4)
        assert losses
        assert all(math.isfinite(x) for x in losses.values())
        assert recipe.sample_grid()
