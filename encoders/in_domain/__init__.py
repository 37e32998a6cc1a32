"""The in-domain encoder: from a photo to a code of W+."""

from ..kinds import EncoderKind
from .config import DescentWeights, InDomainConfig
from .network import InDomainEncoder
from .objective import InDomainRecipe
from .settings import InDomainSettings

__all__ = ["KIND", "DescentWeights", "InDomainConfig", "InDomainEncoder", "InDomainRecipe"]
__all__ += ["InDomainSettings"]

KIND = EncoderKind(
    name="in-domain",
    config=InDomainConfig,
    network=InDomainEncoder,
    settings=InDomainSettings,
    recipe=InDomainRecipe,
    predicts="w+",
    default_space="w+",
)
