"""From an image to latents in one pass; the recipes by which `train.py` trains such networks."""

from .base import BaseEncoder, latents, load, save

__all__ = ["BaseEncoder", "latents", "load", "save"]
