"""From an image to latents in one pass; the recipes by which `train.py` trains such networks."""

from .base import BaseEncoder
from .files import FILE, load, save
from .guess import latents
from .in_domain import InDomainEncoder

__all__ = ["FILE", "BaseEncoder", "InDomainEncoder", "latents", "load", "save"]
