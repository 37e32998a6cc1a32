"""The feature encoder: from a photo to codes of W+ and the feature of one layer of a generator."""

from ..kinds import EncoderKind
from .network import FeatureConfig, FeatureEncoder, FeaturePrediction
from .objective import FeatureRecipe
from .settings import FeatureSettings

__all__ = ["KIND", "FeatureConfig", "FeatureEncoder", "FeaturePrediction", "FeatureRecipe"]
__all__ += ["FeatureSettings"]

KIND = EncoderKind(
    name="feature",
    config=FeatureConfig,
    network=FeatureEncoder,
    settings=FeatureSettings,
    recipe=FeatureRecipe,
    predicts="feature and w+",
    default_space="f/z+",
)
