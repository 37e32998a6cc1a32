"""What the training program is made of: recipes, and the state that survives a stop."""

from .checkpoint import Checkpoints
from .log import Log
from .processes import Diverged, Meter, all_reduce_gradients, check_finite
from .recipe import BatchSlice, Distributed, Recipe, Trainable
from .settings import Run

__all__ = ["Checkpoints", "Diverged", "Distributed", "Log", "Meter", "BatchSlice", "Trainable", "Recipe", "Run"]
__all__ += ["check_finite", "all_reduce_gradients"]
