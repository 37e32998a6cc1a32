"""What the training program is made of: recipes, and the state that survives a stop."""

from .checkpoint import Checkpoints
from .log import Log
from .processes import Diverged, Meter, healthy, spread
from .recipe import Host, Place, Player, Recipe
from .settings import Run

__all__ = ["Checkpoints", "Diverged", "Host", "Log", "Meter", "Place", "Player", "Recipe", "Run"]
__all__ += ["healthy", "spread"]
