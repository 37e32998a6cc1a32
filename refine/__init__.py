"""Initial latents -> better latents, image by image: one loop, a page per paper and term."""

from .engine import DONE, NOT_FINITE, STOPPED_EARLY, RefineResult, Step, refine
from .recipe import Phase, Recipe, Schedule, Term, Variable

__all__ = [
    "DONE",
    "NOT_FINITE",
    "STOPPED_EARLY",
    "Phase",
    "Recipe",
    "RefineResult",
    "Schedule",
    "Step",
    "Term",
    "Variable",
    "refine",
]
