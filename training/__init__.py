"""What `train` is made of: the loop and its parts, recipes, and the state that survives a stop."""

from .checkpoint import Checkpoints
from .log import Log
from .processes import Diverged, Meter, all_reduce_gradients, check_finite
from .recipe import BatchSlice, Distributed, Trainable, TrainingRecipe
from .settings import (
    EmaSettings,
    ImageSettings,
    OptimizerSettings,
    R1Settings,
    TrainingSettings,
)

__all__ = ["BatchSlice", "Checkpoints", "Distributed", "Diverged", "EmaSettings", "ImageSettings"]
__all__ += ["Log", "Meter", "OptimizerSettings", "R1Settings", "Trainable", "TrainingRecipe"]
__all__ += ["TrainingSettings", "all_reduce_gradients", "check_finite"]
