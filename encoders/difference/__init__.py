"""The latent difference encoder: from a face's code and landmarks to that face with them."""

from ..kinds import EncoderKind
from .network import DifferenceConfig, DifferenceEncoder
from .objective import DifferenceRecipe
from .settings import DifferenceSettings

__all__ = ["KIND", "DifferenceConfig", "DifferenceEncoder", "DifferenceRecipe"]
__all__ += ["DifferenceSettings"]

KIND = EncoderKind(
    name="difference",
    config=DifferenceConfig,
    network=DifferenceEncoder,
    settings=DifferenceSettings,
    recipe=DifferenceRecipe,
    predicts="w+ given landmarks",
    source="w+",
)
