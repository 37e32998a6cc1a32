"""StyleGAN generators and discriminators, their file formats, and their latent spaces."""

from .discriminator import Discriminator, DiscriminatorConfig
from .generator import Generator
from .latents import Latents, init_latents
from .loading import freeze, load, load_discriminator, save
from .photo_crop import PhotoCrop
from .stylegan3 import make_placement
from .synthesis import Feature

__all__ = [
    "Discriminator",
    "DiscriminatorConfig",
    "Feature",
    "Generator",
    "Latents",
    "PhotoCrop",
    "freeze",
    "init_latents",
    "load",
    "load_discriminator",
    "make_placement",
    "save",
]
