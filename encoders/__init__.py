"""From an image to latents in one pass; the recipes by which `train.py` trains such networks."""

from .base import BaseEncoder
from .difference import DifferenceEncoder
from .files import FILE, load, save
from .guess import latents
from .in_domain import InDomainEncoder
from .naive import NaiveEncoder
from .reenact import reenact_codes

__all__ = ["FILE", "BaseEncoder", "DifferenceEncoder", "InDomainEncoder", "NaiveEncoder"]
__all__ += ["latents", "load", "reenact_codes", "save"]
