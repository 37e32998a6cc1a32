"""First guess -> better latents, image by image: one loop, and a recipe per paper."""

from .engine import DONE, NOT_FINITE, RefineResult, Step, refine
from .recipe import Phase, Recipe, Schedule, Term, Variable

__all__ = [
    "DONE",
    "NOT_FINITE",
    "Phase",
    "Recipe",
    "RefineResult",
    "Schedule",
    "Step",
    "Term",
    "Variable",
    "refine",
]
