"""Adam and gradient descent, element by element, as a step that a GPU can replay.

What changes from step to step lies in tensors: the moments, and tables of the factors of all steps,
which are computed before in double precision. So a step reads no number of the host.

Legend: T steps of the phase.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from facsimile.stylegan import Generator

from .recipe import Phase, Variable

# A noise map of strength 0 changes nothing, whatever its rate.
MIN_NOISE_STRENGTH = 1e-4


@dataclass
class Optimiser:
    """Moves variables down their gradients by a phase's optimiser, rates and schedule."""

    phase: Phase
    rates: Mapping[str, float]
    """Learning rate of each variable, before the schedule."""
    tables: Tensor
    """(2, T) factors of the rate and of the second moment's root, see `_tables`."""
    moments: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Adam's: "mean" and "square" by the variable's name, each as the variable."""

    @staticmethod
    def begin(phase: Phase, variables: Mapping[str, Tensor], generator: Generator) -> "Optimiser":
        """At the start of a phase."""
        of_kind: dict[str, Variable] = {variable.name: variable for variable in phase.variables}
        rates = {}
        for name in variables:
            kind, _, index = name.partition(".")
            rates[name] = of_kind[kind].lr
            if of_kind[kind].lr_per_noise_strength:
                strength = generator.noise_strengths[int(index)]
                rates[name] /= max(strength, MIN_NOISE_STRENGTH)
        like = next(iter(variables.values()))
        optimiser = Optimiser(phase, rates, _tables(phase).to(like.dtype).to(like.device))
        if phase.optimiser == "adam":
            optimiser.moments = {
                name: {"mean": torch.zeros_like(x), "square": torch.zeros_like(x)}
                for name, x in variables.items()
            }
        return optimiser

    @torch.no_grad()
    def step(
        self,
        variables: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        shares: Mapping[str, Tensor],
        clock: Tensor,
    ) -> None:
        """Step number `clock` (1,) of the phase, in place.

        shares: of the step that an image or a pixel takes, where it is not all.
        """
        rate, root = self.tables.index_select(1, clock).unbind()
        for name, x in variables.items():
            gradient, factor = gradients[name], rate * self.rates[name]
            if self.phase.optimiser == "adam":
                update = factor * self._direction(name, gradient, root)
            else:
                update = factor * gradient
            x.sub_(update * shares[name] if name in shares else update)

    def _direction(self, name: str, gradient: Tensor, root: Tensor) -> Tensor:
        """m / (sqrt(v) / sqrt(1 - beta2^t) + eps): "Adam", algorithm 1; 1 - beta1^t is a rate's."""
        mean, square = self.moments[name]["mean"], self.moments[name]["square"]
        first, second = self.phase.betas
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        return mean / (square.sqrt() / root).add_(self.phase.eps)

    def select(self, images: Tensor) -> "Optimiser":
        """The same for some of the images."""
        moments = {n: {k: x[images] for k, x in m.items()} for n, m in self.moments.items()}
        return Optimiser(self.phase, self.rates, self.tables, moments)


def _tables(phase: Phase) -> Tensor:
    """(2, T) float64: the schedule over 1 - beta1^t, and sqrt(1 - beta2^t), of step t from 1 on."""
    steps = torch.arange(1, phase.steps + 1, dtype=torch.float64)
    factors = [phase.schedule.factor(i, phase.steps) for i in range(phase.steps)]
    rate, root = torch.tensor(factors, dtype=torch.float64), torch.ones_like(steps)
    if phase.optimiser == "adam":
        first, second = phase.betas
        rate, root = rate / (1 - first**steps), (1 - second**steps).sqrt()
    return torch.stack([rate, root])
