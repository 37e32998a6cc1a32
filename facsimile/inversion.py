"""Run a plan: initial latents, refinement, scores.

Legend: N images, C channels, R resolution of the generator.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from facsimile import encoders, metrics, stylegan
from facsimile.metrics import IdentityNetwork, Perceptual
from facsimile.refine import DONE, NOT_FINITE, RefineResult, Step, refine, state_after
from facsimile.refine.padding import SHOWN
from facsimile.stylegan import Generator, Latents

from .aspect import blacken, shown_box, shown_mask
from .initial_file import start_from
from .plan import InversionPlan
from .precision import autocast, computing_in, lay_out, network_dtype
from .result import Result

DEVIATION = (
    "how far the code is from the generator's own samples: root mean square of its whitened "
    "coordinates (1 is typical of samples); in Z spaces the relative distance from the sphere (0)"
)


@dataclass(frozen=True)
class Inverter:
    """A plan with the networks that it needs."""

    plan: InversionPlan
    generator: Generator
    perceptual: Perceptual | None = None
    encoder: torch.nn.Module | None = None
    """The network of the plan's encoder."""
    networks: Mapping[str, Callable] = field(default_factory=dict)
    """Further networks that terms ask for by name. "identity" and "shows_face" also serve the
    scores: which person, of the targets that show a face."""

    def invert(
        self,
        targets: Tensor,
        names: list[str],
        *,
        callback: Callable[[Step], None] | None = None,
        state: dict | None = None,
        start: Latents | None = None,
        phases_done: int = 0,
        steps_done: Sequence[int] = (),
    ) -> Result:
        """Find the latents that reproduce targets (N, C, R, R) in [-1, 1], as one batch.

        names: of the images. callback, state: see `refine.refine`. start: latents that an earlier
        result has after the plan's first `phases_done` phases, which took `steps_done` of each
        image; the result is that of all phases at once.
        """
        for network in (self.generator, self.encoder):
            if network is not None:
                lay_out(network, self.generator.device, self.plan.precision)
        with computing_in(self.plan.precision):
            return self._invert(
                targets, names, callback, state, start, phases_done, list(steps_done)
            )

    def _invert(
        self,
        targets: Tensor,
        names: list[str],
        callback: Callable[[Step], None] | None,
        state: dict | None,
        start: Latents | None,
        phases_done: int,
        steps_done: list[int],
    ) -> Result:
        began = time.perf_counter()
        generator, plan = self.generator, self.plan
        targets = targets.to(generator.device, generator.dtype)
        if start is not None:
            start = start.to(generator.device, generator.dtype)
        latents = self.initial_latents(targets) if start is None or phases_done else start
        if start is not None and phases_done and state is None:
            state = state_after(plan.recipe, phases_done, start, steps_done)
        if plan.steps:
            refined = refine(
                generator,
                latents,
                targets,
                plan.recipe,
                networks=self.term_networks(),
                masks=self._masks(len(targets)),
                callback=callback,
                state=state,
                dtype=network_dtype(plan.precision),
            )
        else:
            refined = _without_refinement(latents)
        images, scores, descriptions = self._score(refined.latents, targets)
        return Result(
            names=names,
            targets=targets.cpu(),
            images=images.cpu(),
            latents=refined.latents.to("cpu"),
            scores=scores,
            metric_descriptions=descriptions,
            history={name: values.cpu() for name, values in refined.history.items()},
            status=refined.status,
            steps=refined.steps,
            seconds=(time.perf_counter() - began) / len(targets),
            plan=plan,
        )

    def initial_latents(self, targets: Tensor) -> Latents:
        """The latents with which refinement of the targets (N, C, R, R) begins."""
        plan, recipe = self.plan, self.plan.recipe
        options: dict[str, Any] = {
            "seed": plan.seed,
            "label": one_hot(plan.label, self.generator.c_dim, targets),
            "truncation_psi": recipe.truncation_psi,
            "truncation_cutoff": recipe.truncation_cutoff,
        }
        if plan.file is not None:
            return start_from(plan.file, self.generator, recipe, self.encoder, len(targets))
        if plan.init == "encoder":
            assert self.encoder is not None
            dtype = network_dtype(plan.precision)
            with autocast(targets.device, dtype):
                latents = encoders.encode(
                    self.encoder, self.generator, targets, recipe.space, **options
                )
            return latents if dtype is None else latents.to(targets.device, targets.dtype)
        return stylegan.init_latents(
            self.generator,
            recipe.space,
            len(targets),
            init=plan.init,
            layer=recipe.layer,
            rgb_skip=recipe.rgb_skip,
            **options,
        )

    def term_networks(self) -> dict[str, Callable]:
        """What the recipe's terms need, as `refine.refine` takes it."""
        networks = {"perceptual": self.perceptual, "encoder": self.encoder, **self.networks}
        return {name: network for name, network in networks.items() if network is not None}

    def _masks(self, count: int) -> dict[str, Tensor]:
        """Those of the recipe for so many images; see `refine.padding`."""
        if self.plan.aspect is None:
            return {}
        mask = shown_mask(self.plan.aspect, count, self.generator.resolution)
        return {SHOWN: mask.to(self.generator.device, self.generator.dtype)}

    @torch.no_grad()
    def _score(self, latents: Latents, targets: Tensor) -> tuple[Tensor, dict, dict]:
        """Images (N, C, R, R) in [-1, 1], their scores, and what each score means."""
        with autocast(targets.device, network_dtype(self.plan.precision)):
            images = latents.synthesize(self.generator)
        images = blacken(images.to(targets.dtype).clamp(-1, 1), self.plan.aspect)
        seen = images, targets
        if self.plan.aspect is not None:
            box = shown_box(self.plan.aspect, self.generator.resolution)
            seen = box.cut(images), box.cut(targets)
        networks = {} if self.perceptual is None else {self.perceptual.name: self.perceptual}
        identity = cast(IdentityNetwork | None, self.networks.get("identity"))
        identity = None if self.plan.aspect is not None else identity
        scores = metrics.score(*seen, networks, identity)
        descriptions = metrics.metric_descriptions(scores, networks, identity)
        descriptions["deviation"] = DEVIATION
        if "shows_face" in self.networks:
            faces = self.networks["shows_face"](targets)
            for name in metrics.IDENTITY_SCORES & scores.keys():
                scores[name] = scores[name].where(faces, torch.nan)
        scores["deviation"] = latents.deviation(self.generator)
        return images, {name: values.tolist() for name, values in scores.items()}, descriptions


def one_hot(label: int | None, classes: int, like: Tensor) -> Tensor | None:
    """(N, classes) of one label for as many images as `like` has; None for no label."""
    if label is None:
        return None
    c = torch.zeros(len(like), classes).to(like)
    c[:, label] = 1
    return c


def _without_refinement(latents: Latents) -> RefineResult:
    """The initial latents as refinement of 0 steps leaves them."""
    latents = latents.retract().detach()
    finite = [x.isfinite().flatten(1).all(1) for x in latents.tensors().values()]
    status = [DONE if good else NOT_FINITE for good in torch.stack(finite).all(0).tolist()]
    return RefineResult(latents, {}, status, [0] * len(latents))
