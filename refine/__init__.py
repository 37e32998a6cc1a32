"""Initial latents -> better latents, image by image: one loop, a page per paper and term."""

from .engine import (
    DONE,
    NOT_FINITE,
    REACHED,
    STOPPED_EARLY,
    RefineResult,
    Step,
    refine,
    state_after,
)
from .recipe import Phase, Recipe, Schedule, Term, Variable

__all__ = [
    "DONE",
    "NOT_FINITE",
    "REACHED",
    "STOPPED_EARLY",
    "Phase",
    "Recipe",
    "RefineResult",
    "Schedule",
    "Step",
    "Term",
    "Variable",
    "refine",
    "state_after",
]
