"""The images of a batch that are still being optimised: variables, optimiser, the best of each.

All that a step changes, it changes in place, so that a step can be replayed: see `captured_step`.

Legend: A images still active.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from facsimile.stylegan import Generator, Latents, spaces
from facsimile.stylegan.randomness import keyed_generator

from . import terms
from .loss_inputs import LossInputs, Targets
from .optimisers import Optimiser
from .recipe import Phase


@dataclass
class ActiveImages:
    """A step calls `inputs`, `track_best`, `step`, and now and then `drop_stopped`."""

    targets: Targets
    """Of these images."""
    template: Latents
    """The latents at the start of the phase, whose parts the variables replace."""
    variables: dict[str, Tensor]
    """(A, ...) leaves, named as in `Latents.tensors`."""
    optimiser: Optimiser
    clock: Tensor
    """(1,) number of the next step of the phase."""
    style_inputs: Tensor | None
    """(L, 1) 1 at the style inputs of the code that the phase optimises, else 0; None: all are."""
    best: dict[str, Tensor]
    """(A, ...) the variables at the lowest loss so far."""
    indices: Tensor
    """(A,) of the images in the whole batch."""
    best_loss: Tensor
    """(A,)"""
    reference_loss: Tensor
    """(A,) the loss from which the next improvement is measured."""
    since_improved: Tensor
    """(A,) evaluations since the last improvement."""
    halvings: Tensor
    """(A,) how many times the image's learning rate was halved."""
    steps_taken: Tensor
    """(A,)"""
    running: Tensor
    """(A,) False once an image has stopped."""
    not_finite: Tensor
    """(A,) True where the loss was NaN or infinite."""
    first_loss: Tensor
    """(A,) the loss at the start of the phase."""

    PER_IMAGE = (
        "indices",
        "best_loss",
        "reference_loss",
        "since_improved",
        "halvings",
        "steps_taken",
        "running",
        "not_finite",
        "first_loss",
    )

    @staticmethod
    def begin(
        phase: Phase, targets: Targets, latents: Latents, indices: Tensor, step: int = 0
    ) -> "ActiveImages":
        """The images at these indices of `latents`, at the start of a phase or a later step."""
        generator, template = targets.generator, latents[indices]
        if template.noise is None and phase.has_variable("noise"):
            template = replace(template, noise=generator.noise_maps(len(template)))
        tensors = template.tensors()
        names = _tensor_names(phase, template)
        variables = {name: tensors[name].detach().clone().requires_grad_() for name in names}
        zero = torch.zeros_like(indices)
        infinite = torch.full(
            indices.shape, torch.inf, device=indices.device, dtype=template.code.dtype
        )
        return ActiveImages(
            targets=terms.with_images_before(targets.select(indices), phase, template),
            template=template,
            variables=variables,
            optimiser=Optimiser.begin(phase, variables, generator),
            clock=torch.full((1,), step, device=indices.device),
            style_inputs=_style_inputs(phase, variables, template.space),
            best={name: x.detach().clone() for name, x in variables.items()},
            indices=indices,
            best_loss=infinite,
            reference_loss=infinite.clone(),
            since_improved=zero,
            halvings=zero.clone(),
            steps_taken=zero.clone(),
            running=zero == 0,
            not_finite=zero != 0,
            first_loss=infinite.clone(),
        )

    def __len__(self) -> int:
        return len(self.indices)

    def latents(self, variables: dict[str, Tensor] | None = None) -> Latents:
        """The latents with the variables in place, or with others, such as `best`."""
        return self.template.with_tensors(self.template.tensors() | (variables or self.variables))

    def drawn_noise(self, phase: Phase, index: int) -> dict[str, Tensor]:
        """The noise maps of step number `index`, by names in their order; {} if none are drawn."""
        if not phase.redraw_noise:
            return {}
        maps = _drawn_noise(phase, index, self.targets.generator)
        return {f"noise.{i}": x for i, x in enumerate(maps)}

    def inputs(self, noise: Mapping[str, Tensor]) -> LossInputs:
        """What the loss is computed from. noise: the maps of `drawn_noise`, {} for the latents'."""
        latents = self.latents()
        if noise:
            latents = replace(latents, noise=tuple(noise.values()))
        return self.targets.inputs(latents)

    def track_best(self, phase: Phase, loss: Tensor) -> None:
        """Save the variables where they are best; stop what is at the goal, does not improve or is
        not finite.

        loss: (A,).
        """
        finite = loss.isfinite()
        self.not_finite |= self.running & ~finite
        self.running &= finite
        self.first_loss.copy_(torch.where(self.first_loss.isinf(), loss, self.first_loss))
        better = self.running & (loss < self.best_loss)
        self.best_loss.copy_(torch.where(better, loss, self.best_loss))
        for name, x in self.variables.items():
            per_image = better.reshape(-1, *[1] * (x.ndim - 1))
            self.best[name].copy_(torch.where(per_image, x.detach(), self.best[name]))
        if phase.goal is not None:
            self.running &= loss > phase.goal
        if phase.patience is not None:
            threshold = self.reference_loss * (1 - phase.min_rel_delta)
            improved = self.reference_loss.isinf() | (loss < threshold)
            self.reference_loss.copy_(torch.where(improved, loss, self.reference_loss))
            self.since_improved.copy_(torch.where(improved, 0, self.since_improved + 1))
            stalled = self.since_improved >= phase.patience
            slower = stalled & (self.halvings < phase.halvings)
            self.halvings += slower
            self.since_improved.masked_fill_(slower, 0)
            self.running &= ~stalled | slower

    def step(self, phase: Phase, losses: Mapping[str, Tensor]) -> None:
        """The optimiser's step down the sum of the losses (A,), back onto the code's space.

        losses: by `Term.key`; a term with variables counts for these alone.
        """
        gradients = self._gradients(phase, losses)
        if self.style_inputs is not None:
            gradients["code"] = gradients["code"] * self.style_inputs
        self.optimiser.step(self.variables, gradients, self._shares(phase), self.clock)
        self._retract()
        self.steps_taken += self.running
        self.clock += 1

    def _gradients(self, phase: Phase, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """For each variable that of the terms that count for it, by its name."""
        groups: dict[frozenset[str], list[str]] = {}
        for name in self.variables:
            kind = name.partition(".")[0]
            counts = (x.key for x in phase.terms if kind in (x.variables or (kind,)))
            groups.setdefault(frozenset(x for x in counts if x in losses), []).append(name)
        gradients: dict[str, Tensor] = {}
        for keys, names in groups.items():
            leaves = [self.variables[name] for name in names]
            found: Sequence[Tensor | None] = [None] * len(names)
            if keys:
                loss = torch.stack([x for key, x in losses.items() if key in keys]).sum(0)
                if phase.initial_loss is not None:
                    loss = loss * (phase.initial_loss / self.first_loss)
                # A stopped image adds no gradient, so one that is not finite cannot reach the sum.
                total = torch.where(self.running, loss, 0).sum()
                kept = len(groups) > 1
                found = torch.autograd.grad(total, leaves, allow_unused=True, retain_graph=kept)
            for name, leaf, gradient in zip(names, leaves, found, strict=True):
                gradients[name] = torch.zeros_like(leaf) if gradient is None else gradient
        return gradients

    def _shares(self, phase: Phase) -> dict[str, Tensor]:
        """The share of the optimiser's step that each image and pixel takes, where it is not all.

        The optimiser has one rate for all images, and Adam's steps do not know how large a gradient
        is, so that a mask on the gradient would not make them shorter.
        """
        masks: dict[str, str | None] = {v.name: v.mask for v in phase.variables}
        shares = {}
        for name, leaf in self.variables.items():
            of_image = (0.5**self.halvings).reshape(-1, *[1] * (leaf.ndim - 1)).to(leaf)
            mask = masks[name.partition(".")[0]]
            if mask is not None:
                side = leaf.shape[2:]
                shares[name] = of_image * adaptive_avg_pool2d(self.targets.masks[mask], side)
            elif phase.halvings:
                shares[name] = of_image
        return shares

    @torch.no_grad()
    def _retract(self) -> None:
        """Move the code back onto its space, such as the sphere of Z."""
        if "code" in self.variables:
            code = self.variables["code"]
            code.copy_(spaces.parse(self.template.space)[0].retract(code))

    def drop_stopped(self) -> "ActiveImages":
        """Only the images that are running, with their part of the optimiser's state."""
        running = self.running.nonzero()[:, 0]
        variables = {k: v.detach()[running].requires_grad_() for k, v in self.variables.items()}
        return replace(
            self,
            targets=self.targets.select(running),
            template=self.template[running],
            variables=variables,
            optimiser=self.optimiser.select(running),
            best={name: x[running] for name, x in self.best.items()},
            **{name: getattr(self, name)[running] for name in self.PER_IMAGE},
        )

    def state(self) -> dict:
        """Tensors and plain values, for `resume` with the same phase, targets and latents."""
        return {
            "variables": {name: x.detach() for name, x in self.variables.items()},
            "best": self.best,
            "moments": self.optimiser.moments,
            **{name: getattr(self, name) for name in self.PER_IMAGE},
        }

    @staticmethod
    def resume(
        phase: Phase, targets: Targets, latents: Latents, state: dict, step: int
    ) -> "ActiveImages":
        """The images as they were when `state` was made, before the phase's step `step`."""
        images = ActiveImages.begin(phase, targets, latents, state["indices"], step)
        with torch.no_grad():
            for name, x in images.variables.items():
                x.copy_(state["variables"][name])
        images.optimiser.moments = state["moments"]
        per_image = {name: state[name] for name in ActiveImages.PER_IMAGE}
        return replace(images, best=state["best"], **per_image)


def _drawn_noise(phase: Phase, index: int, generator: Generator) -> tuple[Tensor, ...]:
    """One map (1, 1, r, r) per noise input, the same in every run and for every image."""
    rng = keyed_generator("cpu", phase.name, index, "redrawn noise")
    shapes = generator.noise_maps(1)
    return tuple(torch.randn(x.shape, generator=rng).to(x) for x in shapes)


def _tensor_names(phase: Phase, latents: Latents) -> list[str]:
    """Names of the tensors that the phase optimises, as in `Latents.tensors`."""
    names = []
    for variable in phase.variables:
        if variable.name == "noise":
            count = len(latents.noise or ())
            inputs = range(count) if variable.inputs is None else variable.inputs
            names += [f"noise.{i % count}" for i in inputs]
        elif variable.name in latents.tensors():
            names.append(variable.name)
        else:
            raise ValueError(f'the space "{latents.space}" has no {variable.name} to optimise')
    return names


def _style_inputs(phase: Phase, variables: Mapping[str, Tensor], space: str) -> Tensor | None:
    inputs = next((v.inputs for v in phase.variables if v.name == "code"), None)
    if inputs is None or "code" not in variables:
        return None
    code = variables["code"]
    if code.ndim != 3:
        raise ValueError(
            f'the space "{space}" has one code for all style inputs; '
            "optimising only some of them needs a space with a +"
        )
    mask = torch.zeros(code.shape[1], 1)
    mask[list(inputs)] = 1
    return mask.to(code)
