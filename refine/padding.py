"""Targets of which a part is padding: terms that compare pictures do not look at it.

Legend: N images, R side of the image.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from .recipe import Recipe

SHOWN = "shown"
"""Name of the mask that is 1 where a target shows something, and 0 in its padding."""
COMPARING = ("pixel", "noise_pixel", "perceptual", "style")
"""Terms that compare pictures, pixel by pixel of an image or a feature."""


def without_padding(recipe: Recipe, share: float) -> Recipe:
    """The recipe whose comparing terms have the mask SHOWN, unless they have one of their own.

    share: of the square that the mask shows. Losses are means over the whole of it, and the goal of
    a phase is one of what is shown.
    """
    phases = []
    for phase in recipe.phases:
        terms = tuple(
            replace(term, mask=SHOWN) if term.mask is None and term.name in COMPARING else term
            for term in phase.terms
        )
        goal = None if phase.goal is None else phase.goal * share
        phases.append(replace(phase, terms=terms, goal=goal))
    return replace(recipe, phases=tuple(phases))


def masks_without_padding(masks: Mapping[str, Tensor], visible: Tensor) -> dict[str, Tensor]:
    """The masks (N, 1, R, R) that such a recipe needs: its own, 0 in the padding, and SHOWN."""
    return {name: mask * visible for name, mask in masks.items()} | {SHOWN: visible}
