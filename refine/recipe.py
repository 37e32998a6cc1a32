"""What refinement does, as data: a `Recipe` is a list of `Phase`s."""

import math
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning-rate factor over a phase: a linear rise, then 1, then a cosine fall to 0."""

    rise: float = 0.0
    """Share of the steps, from the start."""
    fall: float = 0.0
    """Share of the steps, at the end."""

    def factor(self, step: int, steps: int) -> float:
        done = step / steps
        up = min(1.0, (step + 1) / (self.rise * steps)) if self.rise else 1.0
        left = min(1.0, (1 - done) / self.fall) if self.fall else 1.0
        return up * (0.5 - 0.5 * math.cos(left * math.pi))


@dataclass(frozen=True)
class Variable:
    """Something that moves."""

    name: Literal["code", "feature", "noise"]
    lr: float
    """Learning rate in front of the schedule."""
    inputs: tuple[int, ...] | None = None
    """Style inputs of the code, or noise maps, that move; negative: from the end; None: all."""
    per_strength: bool = False
    """For noise: lr is that of the activation, and a map's own is lr / |its noise strength|."""


@dataclass(frozen=True)
class Term:
    """One weighted term of a loss; `refine.terms` has the formula under its name."""

    name: str
    weight: float
    mask: str | None = None
    """Name of the mask (N, 1, H, W) in `refine(masks=...)` that selects the pixels."""
    target: str = "target"
    """Name of the images in `refine(targets=...)` to compare with."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Which variables move, how, for how long and under which terms."""

    name: str
    variables: tuple[Variable, ...]
    terms: tuple[Term, ...]
    steps: int
    optimiser: Literal["adam", "gradient-descent"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    schedule: Schedule = Schedule()
    patience: int | None = None
    """An image stops when its loss has not gained in so many steps; None: it runs to the end."""
    gain: float = 1e-3
    """Relative fall of the loss that counts as a gain."""

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f'phase "{self.name}" has {self.steps} steps; expected 0 or more')
        if not any(term.weight for term in self.terms):
            raise ValueError(
                f'phase "{self.name}" has no term of a weight other than 0; '
                "give it one, or leave the phase out"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one image is refined: the space, where it starts, and the phases."""

    name: str
    space: str
    phases: tuple[Phase, ...]
    start: Literal["mean", "random", "encoder"] | None = None
    """None: an encoder's guess where there is such an encoder, else the space's own start (random
    for Z spaces, mean for the others)."""
    encoder: Literal["base", "in-domain"] | None = None
    """The kind of encoder that can guess where it starts."""
    anchor: Term | None = None
    """Holds the feature to an encoder's guess, where it starts from one."""
    layer: str | None = None
    """Layer of the feature; None: `Generator.default_feature_layer`."""
    rgb_skip: Literal["keep", "zero"] = "keep"
    """Whether the image that the layers before the feature have drawn is kept."""
    truncation: float = 1.0
    cutoff: int | None = None

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def with_steps(self, steps: int) -> "Recipe":
        """The first phase with so many steps, and the others in proportion."""
        first = max(1, self.phases[0].steps)
        phases = [replace(p, steps=round(p.steps * steps / first)) for p in self.phases]
        return replace(self, phases=tuple(phases))

    def with_weight(self, term: str, weight: float) -> "Recipe":
        """Every term of that name with another weight; 0 leaves it out."""
        phases = []
        for phase in self.phases:
            terms = [replace(t, weight=weight) if t.name == term else t for t in phase.terms]
            phases.append(replace(phase, terms=tuple(t for t in terms if t.weight)))
        return replace(self, phases=tuple(phases))

    def with_lr(self, factor: float) -> "Recipe":
        """Every learning rate times `factor`."""
        phases = []
        for phase in self.phases:
            moving = tuple(replace(v, lr=v.lr * factor) for v in phase.variables)
            phases.append(replace(phase, variables=moving))
        return replace(self, phases=tuple(phases))

    def from_encoder(self) -> "Recipe":
        """The recipe that starts from an encoder's guess, and is held to it by `anchor`."""
        phases = self.phases
        if self.anchor is not None:
            held = [any(v.name == "feature" for v in phase.variables) for phase in phases]
            phases = tuple(
                replace(phase, terms=(*phase.terms, self.anchor)) if has else phase
                for phase, has in zip(phases, held, strict=True)
            )
        return replace(self, start="encoder", anchor=None, phases=phases)

    def has_term(self, name: str) -> bool:
        return any(t.name == name and t.weight for phase in self.phases for t in phase.terms)

    def with_layer(self, layer: str) -> "Recipe":
        """The feature at another layer."""
        return replace(self, layer=layer)

    def with_patience(self, patience: int | None, gain: float = 1e-3) -> "Recipe":
        """Every phase with early stopping."""
        phases = [replace(p, patience=patience, gain=gain) for p in self.phases]
        return replace(self, phases=tuple(phases))
