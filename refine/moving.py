"""The images of a batch that still move: their variables, the optimiser, the best of each so far.

Legend: A images still moving.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from facsimile.stylegan import Generator, Latents, spaces

from .recipe import Phase
from .terms import Batch


@dataclass
class Moving:
    batch: Batch
    """What the terms compare with, for these rows."""
    base: Latents
    """The latents of these rows as the phase found them: the variables take the place of parts."""
    variables: dict[str, Tensor]
    """(A, ...) leaves, named as `Latents.tensors` names them."""
    optimiser: torch.optim.Optimizer
    best: dict[str, Tensor]
    rows: Tensor
    """(A,) which images of the whole batch."""
    best_loss: Tensor
    """(A,)"""
    reference: Tensor
    """(A,) the loss from which the next gain is counted."""
    stale: Tensor
    """(A,) looks since the last gain."""
    taken: Tensor
    """(A,) steps taken."""
    alive: Tensor
    """(A,) False once an image has stopped."""
    broken: Tensor
    """(A,) True where the loss was not finite."""

    PER_ROW = ("rows", "best_loss", "reference", "stale", "taken", "alive", "broken")

    @staticmethod
    def begin(phase: Phase, batch: Batch, latents: Latents, rows: Tensor) -> "Moving":
        """Everything of `latents` at these rows, ready to move in a phase."""
        generator, base = batch.generator, latents[rows]
        if base.noise is None and any(v.name == "noise" for v in phase.variables):
            base = replace(base, noise=generator.noise_maps(len(base)))
        held = base.tensors()
        names = _moving_names(phase, base)
        variables = {name: held[name].detach().clone().requires_grad_() for name in names}
        zero = torch.zeros_like(rows)
        infinite = torch.full(rows.shape, torch.inf, device=rows.device, dtype=base.code.dtype)
        return Moving(
            batch=batch.pick(rows),
            base=base,
            variables=variables,
            optimiser=_optimiser(phase, variables, generator),
            best={name: x.detach().clone() for name, x in variables.items()},
            rows=rows,
            best_loss=infinite,
            reference=infinite.clone(),
            stale=zero,
            taken=zero.clone(),
            alive=zero == 0,
            broken=zero != 0,
        )

    def latents(self, variables: dict[str, Tensor] | None = None) -> Latents:
        """The rows with the variables (or the best of them) in place."""
        return self.base.with_tensors(self.base.tensors() | (variables or self.variables))

    def note(self, value: Tensor, phase: Phase) -> None:
        """Keep what is best, count what has not gained, stop what is not finite; value: (A,)."""
        finite = value.isfinite()
        self.broken |= self.alive & ~finite
        self.alive &= finite
        better = self.alive & (value < self.best_loss)
        self.best_loss = torch.where(better, value, self.best_loss)
        for name, x in self.variables.items():
            columns = better.reshape(-1, *[1] * (x.ndim - 1))
            self.best[name] = torch.where(columns, x.detach(), self.best[name])
        if phase.patience is not None:
            gained = self.reference.isinf() | (value < self.reference * (1 - phase.gain))
            self.reference = torch.where(gained, value, self.reference)
            self.stale = torch.where(gained, 0, self.stale + 1)
            self.alive &= self.stale < phase.patience

    def move(self, phase: Phase, total: Tensor, step: int) -> None:
        """One step of the optimiser down the sum of `total` (A,), then the retraction."""
        # An image that has stopped gives no gradient: nothing of a broken one reaches the sum.
        loss = torch.where(self.alive, total, 0).sum()
        names, leaves = zip(*self.variables.items(), strict=True)
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        for name, leaf, gradient in zip(names, leaves, gradients, strict=True):
            leaf.grad = torch.zeros_like(leaf) if gradient is None else gradient
            if name == "code":
                _hold_still(phase, leaf.grad, self.base.space)
        factor = phase.schedule.factor(step, phase.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor
        self.optimiser.step()
        self.taken += self.alive
        if "code" in self.variables:
            code = self.variables["code"]
            code.data = spaces.parse(self.base.space)[0].retract(code.data)

    def keep_alive(self) -> "Moving":
        """Only the rows that are alive, with their part of the optimiser's state."""
        keep = self.alive.nonzero()[:, 0]
        variables = {k: v.detach()[keep].requires_grad_() for k, v in self.variables.items()}
        for group in self.optimiser.param_groups:
            group["params"] = [variables[group["name"]]]
        for name, old in self.variables.items():
            held = self.optimiser.state.pop(old, {})
            # The step count is one number for all rows.
            self.optimiser.state[variables[name]] = {
                k: v[keep] if v.ndim else v for k, v in held.items()
            }
        return replace(
            self,
            batch=self.batch.pick(keep),
            base=self.base[keep],
            variables=variables,
            best={name: x[keep] for name, x in self.best.items()},
            **{name: getattr(self, name)[keep] for name in self.PER_ROW},
        )

    def state(self) -> dict:
        """Its own tensors and plain values: with the same phase, batch and latents for `resume`."""
        return {
            "variables": {name: x.detach() for name, x in self.variables.items()},
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
            **{name: getattr(self, name) for name in self.PER_ROW},
        }

    @staticmethod
    def resume(phase: Phase, batch: Batch, latents: Latents, state: dict) -> "Moving":
        moving = Moving.begin(phase, batch, latents, state["rows"])
        with torch.no_grad():
            for name, x in moving.variables.items():
                x.copy_(state["variables"][name])
        moving.optimiser.load_state_dict(state["optimiser"])
        known = {f.name for f in fields(Moving)} & state.keys() - {"variables", "optimiser"}
        return replace(moving, **{name: state[name] for name in known})


def _moving_names(phase: Phase, latents: Latents) -> list[str]:
    names = []
    for variable in phase.variables:
        if variable.name == "noise":
            count = len(latents.noise)
            chosen = range(count) if variable.inputs is None else variable.inputs
            names += [f"noise.{i % count}" for i in chosen]
        elif variable.name in latents.tensors():
            names.append(variable.name)
        else:
            raise ValueError(f'the space "{latents.space}" has no {variable.name} to move')
    return names


def _hold_still(phase: Phase, gradient: Tensor, space: str) -> None:
    """No gradient to the style inputs that the phase does not move."""
    (inputs,) = [v.inputs for v in phase.variables if v.name == "code"]
    if inputs is None:
        return
    if gradient.ndim != 3:
        raise ValueError(
            f'the space "{space}" has one code for all style inputs; '
            "moving only some of them needs a space with a +"
        )
    moves = torch.zeros(gradient.shape[1], dtype=torch.bool, device=gradient.device)
    moves[list(inputs)] = True
    gradient *= moves[:, None]


def _optimiser(
    phase: Phase, variables: dict[str, Tensor], generator: Generator
) -> torch.optim.Optimizer:
    moves = {variable.name: variable for variable in phase.variables}
    groups = []
    for name, x in variables.items():
        kind, _, index = name.partition(".")
        lr = moves[kind].lr
        if moves[kind].per_strength:
            # A map of strength 0 does nothing, whatever its rate.
            lr /= max(generator.noise_strengths[int(index)], 1e-4)
        groups.append({"params": [x], "lr": lr, "base_lr": lr, "name": name})
    if phase.optimiser == "adam":
        return torch.optim.Adam(groups, betas=phase.betas, eps=phase.eps)
    return torch.optim.SGD(groups)
