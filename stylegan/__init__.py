"""The frozen generator, and the spaces it speaks."""

from .discriminator import Discriminator, DiscriminatorConfig
from .generator import Generator
from .latents import Latents, init_latents
from .loading import freeze, load, load_discriminator, save
from .synthesis import Feature

__all__ = [
    "Discriminator",
    "DiscriminatorConfig",
    "Feature",
    "Generator",
    "Latents",
    "freeze",
    "load",
    "load_discriminator",
    "save",
    "init_latents",
]
