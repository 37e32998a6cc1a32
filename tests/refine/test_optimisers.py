"""Oracle: PyTorch's own optimisers."""

import pytest
import torch

from facsimile.refine import Phase, Term, Variable
from facsimile.refine.optimisers import Optimiser
from facsimile.refine.recipe import Schedule


@pytest.mark.parametrize("name", ["adam", "gradient-descent"])
def test_the_steps_are_pytorchs(name, tiny):
    schedule = Schedule(rampup=0.2, rampdown=0.5)
    phase = Phase(
        name="code",
        variables=(Variable("code", 0.3),),
        terms=(Term("pixel", 1.0),),
        steps=12,
        optimiser=name,
        schedule=schedule,
    )
    start = torch.randn(2, 5, dtype=torch.float64)
    mine, theirs = start.clone(), start.clone().requires_grad_()
    optimiser = Optimiser.begin(phase, {"code": mine}, tiny.generator)
    if name == "adam":
        oracle = torch.optim.Adam([theirs], lr=0.3, betas=phase.betas, eps=phase.eps)
    else:
        oracle = torch.optim.SGD([theirs], lr=0.3)
    for step in range(phase.steps):
        gradient = torch.randn(2, 5, dtype=torch.float64)
        theirs.grad = gradient
        oracle.param_groups[0]["lr"] = 0.3 * schedule.factor(step, phase.steps)
        oracle.step()
        optimiser.step({"code": mine}, {"code": gradient}, {}, torch.tensor([step]))
        torch.testing.assert_close(mine, theirs.detach())
