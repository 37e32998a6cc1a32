"""The feature encoder: from a photo to the feature map of one layer of a generator."""

from ..kinds import EncoderKind
from .network import FeatureConfig, FeatureEncoder
from .objective import FeatureRecipe
from .settings import FeatureSettings

__all__ = ["KIND", "FeatureConfig", "FeatureEncoder", "FeatureRecipe", "FeatureSettings"]

KIND = EncoderKind(
    name="feature",
    config=FeatureConfig,
    network=FeatureEncoder,
    settings=FeatureSettings,
    recipe=FeatureRecipe,
    predicts="feature",
    default_space="f/z+",
)
