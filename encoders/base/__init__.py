"""The base encoder: from a photo to the feature map of one layer of a generator."""

from ..kinds import EncoderKind
from .network import BaseConfig, BaseEncoder
from .objective import BaseRecipe
from .settings import BaseSettings

__all__ = ["KIND", "BaseConfig", "BaseEncoder", "BaseRecipe", "BaseSettings"]

KIND = EncoderKind(
    name="base",
    config=BaseConfig,
    network=BaseEncoder,
    settings=BaseSettings,
    recipe=BaseRecipe,
    predicts="feature",
    default_space="f/z+",
)
