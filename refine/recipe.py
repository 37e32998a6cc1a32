"""Recipes as data: a `Recipe` is a list of `Phase`s, each with its variables and loss terms."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

BEFORE = "before"
"""The `Term.target` that is the result of the phase before: what the latents synthesize when the
phase begins."""

VariableName = Literal["code", "feature", "noise"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning-rate factor over a phase: a linear rise to 1, then 1, then a cosine fall to 0."""

    rampup: float = 0.0
    """Share of the steps that the rise takes, in [0, 1]."""
    rampdown: float = 0.0
    """Share of the steps that the fall takes, in [0, 1]."""

    def factor(self, step: int, steps: int) -> float:
        """The factor at `step` (from 0) of a phase of so many steps."""
        done = step / steps
        rise = min(1.0, (step + 1) / (self.rampup * steps)) if self.rampup else 1.0
        left = min(1.0, (1 - done) / self.rampdown) if self.rampdown else 1.0
        return rise * (0.5 - 0.5 * math.cos(left * math.pi))


@dataclass(frozen=True)
class Variable:
    """A part of the latents that a phase optimises."""

    name: VariableName
    lr: float
    """Learning rate before the schedule."""
    inputs: tuple[int, ...] | None = None
    """Style inputs of the code, or noise maps, to optimise; negative: from the end; None: all."""
    lr_per_noise_strength: bool = False
    """For noise: `lr` is the rate of the activation; a map's rate is lr / |its noise strength|."""
    mask: str | None = None
    """For noise and feature: name of the mask in `refine(masks=...)`, averaged down to the side of
    each map, that multiplies every step. Where it is 0, nothing moves. None: everything does."""


@dataclass(frozen=True)
class Term:
    """One weighted term of a loss; `refine.terms` has the formula under its name."""

    name: str
    weight: float | Mapping[str, float]
    """A number, or one for each perceptual network by its name: {"vgg16": 1.0, "none": 0.0,
    "other": 10.0}. "none" applies without a perceptual network, "other" to all that are not listed.
    `Recipe.for_networks` selects the number. A term of weight 0 is not computed."""
    mask: str | None = None
    """Name of the mask (N, 1, H, W) in `refine(masks=...)` that selects the pixels."""
    target: str = "target"
    """Name of the images in `refine(targets=...)` to compare with, or BEFORE."""
    variables: tuple[VariableName, ...] | None = None
    """The variables that the term moves; the others do not see it. None: all of the phase."""

    @property
    def key(self) -> str:
        """Its name in the history: "term", "term[mask]", "term of variable"."""
        key = self.name if self.mask is None else f"{self.name}[{self.mask}]"
        return key if self.variables is None else f"{key} of {' and '.join(self.variables)}"

    def weight_for(self, perceptual: str) -> float:
        """The weight with the perceptual network of this name, or "none"."""
        if not isinstance(self.weight, Mapping):
            return self.weight
        for name in (perceptual, "other"):
            if name in self.weight:
                return self.weight[name]
        raise ValueError(
            f'the term "{self.name}" has no weight for the perceptual network "{perceptual}", only '
            f'for {", ".join(self.weight)}; add one, or one for "other"'
        )


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Which variables are optimised, how, for how long and under which terms."""

    name: str
    variables: tuple[Variable, ...]
    terms: tuple[Term, ...]
    steps: int
    optimiser: Literal["adam", "gradient-descent"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    """Of Adam."""
    eps: float = 1e-8
    """Of Adam."""
    schedule: Schedule = Schedule()
    redraw_noise: bool = False
    """Noise maps are drawn anew at every step, the same for all images, in place of the latents' or
    the generator's own."""
    patience: int | None = None
    """An image stops after so many steps without an improvement; None: after `steps`."""
    min_rel_delta: float = 1e-3
    """Relative fall of the loss that counts as an improvement."""
    halvings: int = 0
    """So many times an image goes on with half its learning rate instead of stopping."""
    goal: float | None = None
    """An image stops once its loss is no more than this; None: whatever the loss."""
    initial_loss: float | None = None
    """The gradient is that of the loss in a unit in which an image's first loss is this number: for
    gradient descent, whose steps are as long as the loss is large. None: the loss as it is."""

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f'phase "{self.name}" has {self.steps} steps; expected 0 or more')
        if not any(term.weight for term in self.terms):
            raise ValueError(
                f'phase "{self.name}" has no term of a weight other than 0; '
                "give it one, or leave the phase out"
            )
        if self.redraw_noise and self.has_variable("noise"):
            raise ValueError(
                f'phase "{self.name}" optimises noise maps and redraws them at every step; do one '
                "of both"
            )
        self._check_variables()

    def _check_variables(self) -> None:
        names = [variable.name for variable in self.variables]
        for term in self.terms:
            for name in set(term.variables or ()) - set(names):
                raise ValueError(
                    f'the term "{term.name}" of the phase "{self.name}" is for the variable '
                    f'"{name}", and the phase optimises {" and ".join(names)}; name one of these'
                )
        for variable in self.variables:
            if variable.mask is not None and variable.name == "code":
                raise ValueError(
                    f'the phase "{self.name}" gives the code the mask "{variable.mask}", and a '
                    "code has no place in the image; choose style inputs by `inputs`"
                )

    def has_variable(self, name: str) -> bool:
        return any(variable.name == name for variable in self.variables)


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """When an image is done; see the fields of `Phase`."""

    lr: float
    """Factor of the learning rates that the phase begins with."""
    patience: int
    min_rel_delta: float
    halvings: int


UNTIL_DONE = Stopping(lr=2.0, patience=10, min_rel_delta=0.02, halvings=3)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one image is refined: the space, the initial latents, and the phases."""

    name: str
    space: str
    """Name of the latent space: z, z+, w, w+, p_n, p_n+, s, or f/ and one of these."""
    phases: tuple[Phase, ...]
    init: Literal["mean", "random", "encoder"] | None = None
    """Where the code begins. None: at an encoder's prediction where `encoder` names one that is
    available, else where the space begins by default (random in Z spaces, the mean elsewhere)."""
    encoder: str | None = None
    """The kind of encoder that can predict the initial latents, such as "feature" or "in-domain";
    None: no kind can."""
    feature_reg: Term | None = None
    """Added to the phases that optimise the feature, where an encoder predicted it."""
    layer: str | None = None
    """Layer of the feature; None: `Generator.default_feature_layer`."""
    rgb_skip: Literal["keep", "zero"] = "keep"
    """Whether the image that the layers before the feature have drawn is kept."""
    truncation_psi: float = 1.0
    """Factor by which w is moved towards the average w, in [0, 1]; 1 leaves it where it is."""
    truncation_cutoff: int | None = None
    """Number of style inputs, from the first on, that are truncated; None: all."""

    def __post_init__(self) -> None:
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise ValueError(
                f'the recipe "{self.name}" has phases named {", ".join(names)}; the history is '
                "kept by phase, so give each a name of its own"
            )

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def terms(self) -> list[Term]:
        """The terms of all phases whose weight is not 0."""
        return [term for phase in self.phases for term in phase.terms if term.weight]

    def has_term(self, name: str) -> bool:
        return any(term.name == name for term in self.terms())

    def for_networks(self, networks: Mapping[str, Any]) -> "Recipe":
        """The same recipe with numbers as weights: those for the perceptual network at hand.

        networks: as in `refine`. Terms whose weight becomes 0 are left out. `refine` does this
        itself; what prints or stores a recipe does it to show the numbers.
        """
        network = networks.get("perceptual")
        name = "none" if network is None else getattr(network, "name", "other")
        phases = []
        for phase in self.phases:
            terms = [
                replace(term, weight=term.weight_for(name))
                if isinstance(term.weight, Mapping)
                else term
                for term in phase.terms
                if term.weight_for(name)
            ]
            phases.append(replace(phase, terms=tuple(terms)))
        return replace(self, phases=tuple(phases))

    def from_encoder(self) -> "Recipe":
        """The recipe initialised by an encoder, and regularised towards it by `feature_reg`."""
        phases = self.phases
        if self.feature_reg is not None:
            phases = tuple(
                replace(phase, terms=(*phase.terms, self.feature_reg))
                if phase.has_variable("feature")
                else phase
                for phase in phases
            )
        return replace(self, init="encoder", feature_reg=None, phases=phases)

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
            variables = tuple(replace(v, lr=v.lr * factor) for v in phase.variables)
            phases.append(replace(phase, variables=variables))
        return replace(self, phases=tuple(phases))

    def with_layer(self, layer: str) -> "Recipe":
        """The feature at another layer."""
        return replace(self, layer=layer)

    def with_patience(
        self, patience: int | None, min_rel_delta: float = 1e-3, halvings: int = 0
    ) -> "Recipe":
        """Every phase with early stopping."""
        phases = [
            replace(p, patience=patience, min_rel_delta=min_rel_delta, halvings=halvings)
            for p in self.phases
        ]
        return replace(self, phases=tuple(phases))

    def until_done(self) -> "Recipe":
        """Every phase until an image is done, at most its own steps: see UNTIL_DONE."""
        return self.with_lr(UNTIL_DONE.lr).with_patience(
            UNTIL_DONE.patience, UNTIL_DONE.min_rel_delta, UNTIL_DONE.halvings
        )
