"""The refinement loop: initial latents -> better latents, image by image, for every recipe.

Images of a batch never influence one another: losses are summed over images, the optimisers work
element by element, and best latents, early stopping and failure are tracked per image.

Legend: N images, A images still active, T steps.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from facsimile.stylegan import Generator, Latents

from . import terms
from .active_images import ActiveImages
from .captured_step import GraphMaker, StepRunner, graphs_of
from .checks import check
from .loss_inputs import Networks, Targets
from .recipe import Phase, Recipe

# Steps between two checks whether images have stopped. On a GPU a check waits for the device.
SYNC_EVERY = {"cpu": 1, "cuda": 10, "mps": 10}

DONE, STOPPED_EARLY, REACHED = "done", "stopped early", "reached its goal"
NOT_FINITE = "not finite"


@dataclass(frozen=True)
class Step:
    """What a callback receives after every step."""

    phase: str
    done: int
    """Steps done in all phases, of `total`."""
    total: int
    active: Tensor
    """(A,) indices of the images that were optimised."""
    losses: dict[str, Tensor]
    """Weighted terms before the step, (A,) each, on the device."""
    state: Callable[[], dict]
    """Makes what a later run needs to resume here, for torch.save: `refine(state=...)`."""


@dataclass(frozen=True)
class RefineResult:
    """Refined latents, and how they came about."""

    latents: Latents
    """The best of each image."""
    history: dict[str, Tensor]
    """"phase/term" -> (T + 1, N) weighted values; NaN where an image was no longer active."""
    status: list[str]
    """Per image how its last phase ended: "done" after all steps, "stopped early", "reached its
    goal" or "not finite"."""
    steps: list[int]
    """Steps that each image took, in all phases."""


def refine(
    generator: Generator,
    initial: Latents,
    targets: Tensor | dict[str, Tensor],
    recipe: Recipe,
    *,
    networks: Networks | None = None,
    masks: Mapping[str, Tensor] | None = None,
    callback: Callable[[Step], None] | None = None,
    state: dict | None = None,
    graphs: Callable[[torch.device], GraphMaker | None] = graphs_of,
    dtype: torch.dtype | None = None,
) -> RefineResult:
    """Refine the latents of N images towards targets.

    initial: where to begin, and what the terms feature_reg and latent_reg compare with.
    targets: (N, C, R, R) in [-1, 1], or several of these by the names that terms give as `target`.
    networks: what terms need, by name: "perceptual", a `metrics.Perceptual`; "encoder", a callable
        from images (N, C, R, R) to codes (N, L, w_dim) in W+. An image's result must not depend on
        the others, so a network must not be in training mode. None counts as missing.
    masks: (N, 1, R, R) in [0, 1], by the names that terms give as `mask`; 1 = the pixel counts.
    callback: called with a `Step` after every step; an exception that it raises ends the run.
    state: from `Step.state`, to resume a run; the other arguments must be those of that run.
    graphs: what captures steps on a device, so that they are replayed: see `captured_step`.
    dtype: in which the generator computes, by autocast; the losses and latents keep theirs.

    Raises ValueError where arguments do not fit together.
    """
    networks, masks = networks or {}, masks or {}
    targets = targets if isinstance(targets, Mapping) else {"target": targets}
    recipe = recipe.for_networks(networks)
    check(generator, initial, targets, masks, networks, recipe)
    initial = initial.retract().detach()
    prepared = terms.prepare(generator, initial, targets, masks, networks, recipe)
    prepared = replace(prepared, dtype=dtype)
    run = _Run(prepared, recipe, initial, graphs(initial.code.device))
    if state is not None:
        run.resume(state)
    with torch.enable_grad():
        while run.phase < len(recipe.phases):
            run.optimise_phase(callback)
    return RefineResult(run.latents.detach(), run.history, run.status, run.steps)


def state_after(recipe: Recipe, phases: int, latents: Latents, steps: list[int]) -> dict:
    """The state of a run whose first phases are over, so many of them: for `refine(state=...)`.

    latents: of the N images, after these phases. steps: that each image took. The history of such
    a run begins with its next phase. The recipe must have numbers as weights, see
    `Recipe.for_networks`.
    """
    values = (phases, 0, [DONE] * len(latents), steps)
    return {
        "recipe": repr(recipe),
        **dict(zip(_Run.PLAIN, values, strict=True)),
        "latents": latents.tensors(),
        "history": {},
        "images": None,
    }


@dataclass
class _Run:
    targets: Targets
    recipe: Recipe
    latents: Latents
    """The best of every image that has stopped, or of the phase before."""
    graphs: GraphMaker | None
    phase: int = 0
    step: int = 0
    status: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    history: dict[str, Tensor] = field(default_factory=dict)
    images: ActiveImages | None = None
    """Of the phase that is under way, for `state`."""

    def __post_init__(self) -> None:
        n = len(self.latents)
        self.status, self.steps = [DONE] * n, [0] * n

    def optimise_phase(self, callback: Callable[[Step], None] | None) -> None:
        """Minimise a phase's terms over its variables, from the best latents so far."""
        phase = self.recipe.phases[self.phase]
        images = self.images
        if images is None:
            images = ActiveImages.begin(phase, self.targets, self.latents, self._finite())
        sync_every = SYNC_EVERY.get(images.indices.device.type, 1)
        runner = self._runner(phase, images)
        while len(images) and self.step <= phase.steps:
            last = self.step == phase.steps  # evaluates the result of the last step, and takes none
            noise = images.drawn_noise(phase, self.step)
            if last:
                losses = self._evaluate(phase, images, noise)
            else:
                losses = runner(noise, left=phase.steps - self.step)
            active, self.step = images.indices, self.step + 1
            if last or self.step % sync_every == 0:
                remaining = self._collect_stopped(images, everyone=last)
                if remaining is not images:
                    images, self.graphs = remaining, runner.graphs
                    runner = self._runner(phase, images)
            if callback is not None:
                self.images = images
                callback(self._report(phase, active, losses))
        self.graphs = runner.graphs  # None where a step could not be captured
        self.phase, self.step, self.images = self.phase + 1, 0, None

    def _runner(self, phase: Phase, images: ActiveImages) -> StepRunner:
        return StepRunner(lambda noise: self._descend(phase, images, noise), self.graphs)

    def _descend(
        self, phase: Phase, images: ActiveImages, noise: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """One step; returns the terms before it. Whatever it changes, it changes in place."""
        losses = terms.evaluate(images.inputs(noise), phase.terms)
        values = self._keep(phase, images, losses)
        images.step(phase, losses)
        return values

    @torch.no_grad()
    def _evaluate(
        self, phase: Phase, images: ActiveImages, noise: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The terms after the last step."""
        return self._keep(phase, images, terms.evaluate(images.inputs(noise), phase.terms))

    def _keep(
        self, phase: Phase, images: ActiveImages, losses: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Record the terms, and the variables of every image that is better than before."""
        losses = {name: value.detach() for name, value in losses.items()}
        self._record(phase, images, losses)
        images.track_best(phase, torch.stack(list(losses.values())).sum(0))
        return losses

    def _finite(self) -> Tensor:
        """(A,) indices of the images that have not failed."""
        finite = [i for i, status in enumerate(self.status) if status != NOT_FINITE]
        return torch.tensor(finite, dtype=torch.long, device=self.latents.code.device)

    def _record(self, phase: Phase, images: ActiveImages, losses: dict[str, Tensor]) -> None:
        for name, value in losses.items():
            key = f"{phase.name}/{name}"
            if key not in self.history:
                shape = (phase.steps + 1, len(self.latents))
                self.history[key] = torch.full(shape, torch.nan, device=value.device)
            # Between two checks, images that have stopped are still in the batch.
            value = torch.where(images.running, value.float(), torch.nan)
            self.history[key].index_put_((images.clock, images.indices), value)

    def _collect_stopped(self, images: ActiveImages, *, everyone: bool) -> ActiveImages:
        """Take over the best latents of the images that have stopped; returns the others.

        everyone: the phase is over; take over all, and return them as they are.
        """
        stopped = torch.ones_like(images.running) if everyone else ~images.running
        if not stopped.any():
            return images
        indices = images.indices[stopped]
        best = images.latents(images.best)[stopped]
        if best.noise is not None and self.latents.noise is None:
            maps = self.targets.generator.noise_maps(len(self.latents))
            noise = {f"noise.{i}": x for i, x in enumerate(maps)}
            self.latents = self.latents.with_tensors(self.latents.tensors() | noise)
        tensors = {name: x.clone() for name, x in self.latents.tensors().items()}
        for name, x in best.tensors().items():
            tensors[name][indices] = x.detach()
        self.latents = self.latents.with_tensors(tensors)
        self._set_status(images, stopped)
        return images if everyone else images.drop_stopped()

    def _set_status(self, images: ActiveImages, stopped: Tensor) -> None:
        columns = (
            images.indices,
            stopped,
            images.steps_taken,
            images.running,
            images.not_finite,
            images.best_loss,
        )
        goal = self.recipe.phases[self.phase].goal
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for index, has_stopped, steps, running, not_finite, loss in rows:
            if has_stopped:
                self.steps[index] += steps
                status = DONE if running else STOPPED_EARLY
                if goal is not None and loss <= goal:
                    status = REACHED
                self.status[index] = NOT_FINITE if not_finite else status

    def _report(self, phase: Phase, active: Tensor, losses: dict[str, Tensor]) -> Step:
        before = sum(p.steps for p in self.recipe.phases[: self.phase])
        done = before + min(self.step, phase.steps)
        return Step(phase.name, done, self.recipe.steps, active, losses, self.state)

    # Resuming -------------------------------------------------------------------------------------

    PLAIN = ("phase", "step", "status", "steps")

    def state(self) -> dict:
        """A copy of everything that changes, for `resume`."""
        state = {
            "recipe": repr(self.recipe),
            **{name: getattr(self, name) for name in self.PLAIN},
            "latents": self.latents.tensors(),
            "history": self.history,
            "images": None if self.images is None else self.images.state(),
        }
        return copy.deepcopy(state)

    def resume(self, state: dict) -> None:
        """Continue from a `state`; ValueError where it belongs to another recipe."""
        if state["recipe"] != repr(self.recipe):
            raise ValueError(
                f"the state is of another recipe: {state['recipe']}; expected {self.recipe!r}"
            )
        state = copy.deepcopy(state)
        for name in self.PLAIN:
            setattr(self, name, state[name])
        self.latents = self.latents.with_tensors(state["latents"])
        self.history = state["history"]
        if state["images"] is not None:
            phase = self.recipe.phases[self.phase]
            self.images = ActiveImages.resume(
                phase, self.targets, self.latents, state["images"], self.step
            )
