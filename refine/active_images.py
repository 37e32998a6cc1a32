"""The images of a batch that are still being optimised: variables, optimiser, the best of each.

Legend: A images still active.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from facsimile.stylegan import Generator, Latents, spaces
from facsimile.stylegan.randomness import keyed_generator

from .loss_inputs import LossInputs, Targets
from .recipe import Phase, Variable

# A noise map of strength 0 changes nothing, whatever its rate.
MIN_NOISE_STRENGTH = 1e-4


@dataclass
class ActiveImages:
    """A step calls `inputs`, `track_best`, `step`, `retract`, and then `drop_stopped`."""

    targets: Targets
    """Of these images."""
    template: Latents
    """The latents at the start of the phase, whose parts the variables replace."""
    variables: dict[str, Tensor]
    """(A, ...) leaves, named as in `Latents.tensors`."""
    optimiser: torch.optim.Optimizer
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

    PER_IMAGE = (
        "indices",
        "best_loss",
        "reference_loss",
        "since_improved",
        "halvings",
        "steps_taken",
        "running",
        "not_finite",
    )

    @staticmethod
    def begin(phase: Phase, targets: Targets, latents: Latents, indices: Tensor) -> "ActiveImages":
        """The images at these indices of `latents`, at the start of a phase."""
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
            targets=targets.select(indices),
            template=template,
            variables=variables,
            optimiser=_optimiser(phase, variables, generator),
            best={name: x.detach().clone() for name, x in variables.items()},
            indices=indices,
            best_loss=infinite,
            reference_loss=infinite.clone(),
            since_improved=zero,
            halvings=zero.clone(),
            steps_taken=zero.clone(),
            running=zero == 0,
            not_finite=zero != 0,
        )

    def __len__(self) -> int:
        return len(self.indices)

    def latents(self, variables: dict[str, Tensor] | None = None) -> Latents:
        """The latents with the variables in place, or with others, such as `best`."""
        return self.template.with_tensors(self.template.tensors() | (variables or self.variables))

    def inputs(self, phase: Phase, index: int) -> LossInputs:
        """What the loss is computed from, at step number `index` of the phase."""
        latents = self.latents()
        if phase.redraw_noise:
            latents = replace(latents, noise=_drawn_noise(phase, index, self.targets.generator))
        return self.targets.inputs(latents)

    def track_best(self, phase: Phase, loss: Tensor) -> None:
        """Save the variables where they are best; stop what is at the goal, does not improve or is
        not finite.

        loss: (A,).
        """
        finite = loss.isfinite()
        self.not_finite |= self.running & ~finite
        self.running &= finite
        better = self.running & (loss < self.best_loss)
        self.best_loss = torch.where(better, loss, self.best_loss)
        for name, x in self.variables.items():
            per_image = better.reshape(-1, *[1] * (x.ndim - 1))
            self.best[name] = torch.where(per_image, x.detach(), self.best[name])
        if phase.goal is not None:
            self.running &= loss > phase.goal
        if phase.patience is not None:
            threshold = self.reference_loss * (1 - phase.min_rel_delta)
            improved = self.reference_loss.isinf() | (loss < threshold)
            self.reference_loss = torch.where(improved, loss, self.reference_loss)
            self.since_improved = torch.where(improved, 0, self.since_improved + 1)
            stalled = self.since_improved >= phase.patience
            slower = stalled & (self.halvings < phase.halvings)
            self.halvings += slower
            self.since_improved = torch.where(slower, 0, self.since_improved)
            self.running &= ~stalled | slower

    def step(self, phase: Phase, loss: Tensor, index: int) -> None:
        """Step number `index` of the phase: the optimiser's, down the sum of `loss` (A,)."""
        # A stopped image contributes no gradient, so one that is not finite cannot reach the sum.
        total = torch.where(self.running, loss, 0).sum()
        names, leaves = zip(*self.variables.items(), strict=True)
        gradients = torch.autograd.grad(total, leaves, allow_unused=True)
        for name, leaf, gradient in zip(names, leaves, gradients, strict=True):
            leaf.grad = torch.zeros_like(leaf) if gradient is None else gradient
            if name == "code":
                _mask_inputs(phase, leaf.grad, self.template.space)
        factor = phase.schedule.factor(index, phase.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor
        if not phase.halvings:
            self.optimiser.step()
        else:
            # The optimiser has one rate for all images; each takes its share of the step.
            before = {name: leaf.detach().clone() for name, leaf in self.variables.items()}
            self.optimiser.step()
            share = 0.5**self.halvings
            for name, leaf in self.variables.items():
                of_image = share.reshape(-1, *[1] * (leaf.ndim - 1)).to(leaf)
                leaf.data = torch.lerp(before[name], leaf.detach(), of_image)
        self.steps_taken += self.running

    def retract(self) -> None:
        """Move the code back onto its space, such as the sphere of Z."""
        if "code" in self.variables:
            code = self.variables["code"]
            code.data = spaces.parse(self.template.space)[0].retract(code.data)

    def drop_stopped(self) -> "ActiveImages":
        """Only the images that are running, with their part of the optimiser's state."""
        running = self.running.nonzero()[:, 0]
        variables = {k: v.detach()[running].requires_grad_() for k, v in self.variables.items()}
        for group in self.optimiser.param_groups:
            group["params"] = [variables[group["name"]]]
        for name, old in self.variables.items():
            moments = self.optimiser.state.pop(old, {})
            # The step count is one number for all images.
            self.optimiser.state[variables[name]] = {
                k: v[running] if v.ndim else v for k, v in moments.items()
            }
        return replace(
            self,
            targets=self.targets.select(running),
            template=self.template[running],
            variables=variables,
            best={name: x[running] for name, x in self.best.items()},
            **{name: getattr(self, name)[running] for name in self.PER_IMAGE},
        )

    def state(self) -> dict:
        """Tensors and plain values, for `resume` with the same phase, targets and latents."""
        return {
            "variables": {name: x.detach() for name, x in self.variables.items()},
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
            **{name: getattr(self, name) for name in self.PER_IMAGE},
        }

    @staticmethod
    def resume(phase: Phase, targets: Targets, latents: Latents, state: dict) -> "ActiveImages":
        """The images as they were when `state` was made."""
        images = ActiveImages.begin(phase, targets, latents, state["indices"])
        with torch.no_grad():
            for name, x in images.variables.items():
                x.copy_(state["variables"][name])
        images.optimiser.load_state_dict(state["optimiser"])
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


def _mask_inputs(phase: Phase, gradient: Tensor, space: str) -> None:
    """Set the gradient to 0 at the style inputs that the phase does not optimise."""
    (inputs,) = [v.inputs for v in phase.variables if v.name == "code"]
    if inputs is None:
        return
    if gradient.ndim != 3:
        raise ValueError(
            f'the space "{space}" has one code for all style inputs; '
            "optimising only some of them needs a space with a +"
        )
    mask = torch.zeros(gradient.shape[1], dtype=torch.bool, device=gradient.device)
    mask[list(inputs)] = True
    gradient *= mask[:, None]


def _optimiser(
    phase: Phase, tensors: dict[str, Tensor], generator: Generator
) -> torch.optim.Optimizer:
    variables: dict[str, Variable] = {variable.name: variable for variable in phase.variables}
    groups = []
    for name, x in tensors.items():
        kind, _, index = name.partition(".")
        lr = variables[kind].lr
        if variables[kind].lr_per_noise_strength:
            lr /= max(generator.noise_strengths[int(index)], MIN_NOISE_STRENGTH)
        groups.append({"params": [x], "lr": lr, "base_lr": lr, "name": name})
    if phase.optimiser == "adam":
        return torch.optim.Adam(groups, betas=phase.betas, eps=phase.eps)
    return torch.optim.SGD(groups)
