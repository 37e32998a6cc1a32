"""Whether the arguments of a refinement fit together; each error says what to pass instead."""

from collections.abc import Mapping

from torch import Tensor

from facsimile.stylegan import Generator, Latents

from . import terms
from .loss_inputs import Networks
from .recipe import BEFORE, Recipe


def check(
    generator: Generator,
    initial: Latents,
    targets: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    networks: Networks,
    recipe: Recipe,
) -> None:
    """ValueError where something does not fit the generator, the latents or the recipe."""
    initial.check(generator)
    n, side = len(initial), generator.resolution
    images = (n, generator.img_channels, side, side)
    for name, target in targets.items():
        if tuple(target.shape) != images:
            raise ValueError(
                f'the images "{name}" have the shape {tuple(target.shape)}; expected {images}, '
                f"as this generator synthesizes {n} images"
            )
    for name, mask in masks.items():
        if tuple(mask.shape) != (n, 1, side, side):
            raise ValueError(
                f'the mask "{name}" has the shape {tuple(mask.shape)}; '
                f"expected {(n, 1, side, side)}, one channel for each of {n} images"
            )
    terms.check(recipe, networks)
    _check_names(recipe, targets, masks)
    uses_noise = any(phase.has_variable("noise") or phase.redraw_noise for phase in recipe.phases)
    if uses_noise and not generator.noise_strengths:
        raise ValueError(
            f'the recipe "{recipe.name}" optimises or redraws noise maps, and this generator has '
            "no noise inputs; choose a recipe without +noise"
        )


def _check_names(
    recipe: Recipe, targets: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> None:
    if BEFORE in targets:
        raise ValueError(
            f'got targets of the name "{BEFORE}", which is the result of the phase before; give '
            "them another name"
        )
    for term in recipe.terms():
        if term.target not in (*targets, BEFORE):
            raise ValueError(
                f'the term "{term.name}" compares with the images "{term.target}", and the targets '
                f"are {list(targets)}; pass targets={{{term.target!r}: ...}}"
            )
        if term.mask is not None and term.mask not in masks:
            raise ValueError(
                f'the term "{term.name}" has the mask "{term.mask}", and the masks are '
                f"{list(masks)}; pass masks={{{term.mask!r}: ...}}"
            )
    for variable in (variable for phase in recipe.phases for variable in phase.variables):
        if variable.mask is not None and variable.mask not in masks:
            raise ValueError(
                f'the variable "{variable.name}" has the mask "{variable.mask}", and the masks are '
                f"{list(masks)}; pass masks={{{variable.mask!r}: ...}}"
            )
