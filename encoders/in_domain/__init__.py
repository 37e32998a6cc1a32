"""The in-domain encoder: from a photo to a code of W+."""

from ..kinds import EncoderKind
from .network import InDomainConfig, InDomainEncoder
from .objective import InDomainRecipe
from .settings import InDomainSettings

__all__ = ["KIND", "InDomainConfig", "InDomainEncoder", "InDomainRecipe", "InDomainSettings"]

KIND = EncoderKind(
    name="in-domain",
    config=InDomainConfig,
    network=InDomainEncoder,
    settings=InDomainSettings,
    recipe=InDomainRecipe,
    predicts="w+",
    default_space="w+",
)
