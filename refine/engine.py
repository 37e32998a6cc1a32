"""The refinement loop: first guess -> better latents, image by image, for every recipe.

Images of a batch never influence one another: losses are summed over images, the optimisers work
element by element, and best-so-far, early stop and failure are kept per image.

Legend: N images, A images still moving, T steps.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from facsimile.metrics import Perceptual
from facsimile.stylegan import Generator, Latents

from .moving import Moving
from .recipe import Phase, Recipe
from .terms import Batch, evaluate

# Steps between looks whether images have stopped. On a GPU a look waits for the device.
LOOK_EVERY = {"cpu": 1, "cuda": 10, "mps": 10}

DONE, STOPPED_EARLY, NOT_FINITE = "done", "stopped early", "not finite"


@dataclass(frozen=True)
class Step:
    """What a callback is told after every step."""

    phase: str
    done: int
    """Steps done in all phases, of `total`."""
    total: int
    rows: Tensor
    """(A,) which images moved."""
    losses: dict[str, Tensor]
    """Weighted terms before the step, (A,) each, on the device."""
    state: Callable[[], dict]
    """Everything needed to go on from here, for torch.save: `refine(state=...)`."""


@dataclass(frozen=True)
class RefineResult:
    latents: Latents
    """The best of each image."""
    history: dict[str, Tensor]
    """"phase/term" -> (T + 1, N) weighted values; nan where an image did not move any more."""
    status: list[str]
    """Per image: "done", "stopped early" or "not finite"."""
    steps: list[int]
    """Steps that each image took, in all phases."""


def refine(
    generator: Generator,
    start: Latents,
    targets: Tensor | dict[str, Tensor],
    recipe: Recipe,
    *,
    perceptual: Perceptual | None = None,
    masks: dict[str, Tensor] | None = None,
    encoder: Callable[[Tensor], Tensor] | None = None,
    callback: Callable[[Step], None] | None = None,
    state: dict | None = None,
) -> RefineResult:
    """Refine latents of N images towards targets (N, C, R, R) in [-1, 1].

    start: where to begin, and what anchors hold on to. encoder: what the domain term asks, images
    (N, C, R, R) -> codes (N, L, w_dim) in W+; an image's code must not depend on the others, so a
    network must not be in training mode. callback: called with a `Step`; an exception
    that it raises ends the run. state: from `Step.state`, to go on with a run that was cut off; the
    other arguments must be those of that run.
    """
    start.check(generator)
    targets = targets if isinstance(targets, dict) else {"target": targets}
    masks = masks or {}
    _check_targets(generator, start, targets)
    _check_masks(generator, start, masks)
    _check_names(recipe, targets, masks)
    _check_noise(generator, recipe)
    _check_encoder(recipe, encoder)
    start = start.retract().detach()
    batch = Batch.prepare(generator, start, targets, masks, perceptual, recipe, encoder)
    run = _Run(batch, recipe)
    if state is not None:
        run.resume(state)
    with torch.enable_grad():
        while run.phase < len(recipe.phases):
            run.one_phase(callback)
    return RefineResult(run.finished.detach(), run.history, run.status, run.steps)


def _check_targets(generator: Generator, start: Latents, targets: dict[str, Tensor]) -> None:
    shape = (len(start), generator.img_channels, generator.resolution, generator.resolution)
    for name, target in targets.items():
        if tuple(target.shape) != shape:
            raise ValueError(
                f'the images "{name}" have the shape {tuple(target.shape)}; '
                f"expected {shape}, as this generator draws {len(start)} images"
            )


def _check_masks(generator: Generator, start: Latents, masks: dict[str, Tensor]) -> None:
    shape = (len(start), 1, generator.resolution, generator.resolution)
    for name, mask in masks.items():
        if tuple(mask.shape) != shape:
            raise ValueError(
                f'the mask "{name}" has the shape {tuple(mask.shape)}; '
                f"expected {shape}, one channel for each of {len(start)} images"
            )


def _check_names(recipe: Recipe, targets: dict[str, Tensor], masks: dict[str, Tensor]) -> None:
    for term in (term for phase in recipe.phases for term in phase.terms if term.weight):
        if term.target not in targets:
            raise ValueError(
                f'the term "{term.name}" finds no images "{term.target}" among '
                f"{list(targets)}; pass targets={{{term.target!r}: ...}}"
            )
        if term.mask is not None and term.mask not in masks:
            raise ValueError(
                f'the term "{term.name}" finds no mask "{term.mask}" among '
                f"{list(masks)}; pass masks={{{term.mask!r}: ...}}"
            )


def _check_noise(generator: Generator, recipe: Recipe) -> None:
    moving = (variable.name for phase in recipe.phases for variable in phase.variables)
    if "noise" in moving and not generator.noise_strengths:
        raise ValueError(
            f'the recipe "{recipe.name}" moves noise maps, and this generator has no noise inputs; '
            "choose a recipe without +noise"
        )


def _check_encoder(recipe: Recipe, encoder: Callable[[Tensor], Tensor] | None) -> None:
    if not recipe.has_term("domain"):
        return
    if encoder is None:
        raise ValueError(
            f'the recipe "{recipe.name}" has a domain term; pass encoder=..., or weight 0'
        )
    if recipe.space != "w+":
        raise ValueError(
            f'the domain term compares codes in W+, and the space of "{recipe.name}" is '
            f'"{recipe.space}"; leave the term out, or take w+'
        )
    if getattr(encoder, "training", False):
        raise ValueError(
            "the encoder is in training mode, in which images may influence one another; "
            "call its eval() first"
        )


@dataclass
class _Run:
    batch: Batch
    recipe: Recipe
    phase: int = 0
    step: int = 0
    finished: Latents = None
    """The best of every image, as far as it has settled."""
    status: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    history: dict[str, Tensor] = field(default_factory=dict)
    moving: Moving | None = None

    def __post_init__(self) -> None:
        n = len(self.batch.start)
        self.finished, self.status, self.steps = self.batch.start, [DONE] * n, [0] * n

    def one_phase(self, callback: Callable[[Step], None] | None) -> None:
        phase = self.recipe.phases[self.phase]
        if self.moving is None:
            able = [i for i, status in enumerate(self.status) if status != NOT_FINITE]
            rows = torch.tensor(able, dtype=torch.long, device=self.finished.code.device)
            self.moving = Moving.begin(phase, self.batch, self.finished, rows)
        look_every = LOOK_EVERY.get(self.moving.rows.device.type, 1)
        while len(self.moving.rows) and self.step <= phase.steps:
            # The last round looks at what the last step made, and moves nothing.
            last = self.step == phase.steps
            moving = self.moving
            with torch.set_grad_enabled(not last):
                losses = evaluate(moving.batch.scene(moving.latents()), phase.terms)
                total = torch.stack(list(losses.values())).sum(0)
            losses = {name: value.detach() for name, value in losses.items()}
            self._record(phase, losses)
            moving.note(total.detach(), phase)
            if not last:
                moving.move(phase, total, self.step)
            self.step += 1
            if last or self.step % look_every == 0:
                self._settle(everyone=last)
            if callback is not None:
                callback(self._tell(phase, moving.rows, losses))
        self.phase, self.step, self.moving = self.phase + 1, 0, None

    def _record(self, phase: Phase, losses: dict[str, Tensor]) -> None:
        for name, value in losses.items():
            key = f"{phase.name}/{name}"
            if key not in self.history:
                shape = (phase.steps + 1, len(self.finished))
                self.history[key] = torch.full(shape, torch.nan, device=value.device)
            # Between two looks, images that have stopped are still among the rows.
            value = torch.where(self.moving.alive, value.float(), torch.nan)
            self.history[key][self.step, self.moving.rows] = value

    def _settle(self, *, everyone: bool) -> None:
        """Put the best of the images that have stopped (at the end: of all) into `finished`."""
        moving = self.moving
        leaving = torch.ones_like(moving.alive) if everyone else ~moving.alive
        if not leaving.any():
            return
        rows = moving.rows[leaving]
        best = moving.latents(moving.best)[leaving]
        if best.noise is not None and self.finished.noise is None:
            maps = self.batch.generator.noise_maps(len(self.finished))
            tensors = self.finished.tensors() | {f"noise.{i}": x for i, x in enumerate(maps)}
            self.finished = self.finished.with_tensors(tensors)
        whole = {name: x.clone() for name, x in self.finished.tensors().items()}
        for name, x in best.tensors().items():
            whole[name][rows] = x.detach()
        self.finished = self.finished.with_tensors(whole)
        left, alive, broken = leaving.tolist(), moving.alive.tolist(), moving.broken.tolist()
        for index, row in enumerate(moving.rows.tolist()):
            if left[index]:
                self.steps[row] += int(moving.taken[index])
                ended = DONE if alive[index] else STOPPED_EARLY
                self.status[row] = NOT_FINITE if broken[index] else ended
        self.moving = moving if everyone else moving.keep_alive()

    def _tell(self, phase: Phase, rows: Tensor, losses: dict[str, Tensor]) -> Step:
        before = sum(p.steps for p in self.recipe.phases[: self.phase])
        done = before + min(self.step, phase.steps)
        return Step(phase.name, done, self.recipe.steps, rows, losses, self.state)

    # Stopping and going on ------------------------------------------------------------------------

    PLAIN = ("phase", "step", "status", "steps")

    def state(self) -> dict:
        state = {
            "recipe": repr(self.recipe),
            **{name: getattr(self, name) for name in self.PLAIN},
            "finished": self.finished.tensors(),
            "history": self.history,
            "moving": self.moving.state(),
        }
        # The originals go on changing.
        return copy.deepcopy(state)

    def resume(self, state: dict) -> None:
        if state["recipe"] != repr(self.recipe):
            raise ValueError(
                f"the state is of another recipe: {state['recipe']}; expected {self.recipe!r}"
            )
        state = copy.deepcopy(state)
        for name in self.PLAIN:
            setattr(self, name, state[name])
        self.finished = self.batch.start.with_tensors(state["finished"])
        self.history = state["history"]
        phase = self.recipe.phases[self.phase]
        self.moving = Moving.resume(phase, self.batch, self.finished, state["moving"])
