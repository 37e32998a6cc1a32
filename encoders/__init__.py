"""From an image to latents in one pass; the recipes by which `train.py` trains such networks."""

from .base import BaseEncoder
from .difference import DifferenceEncoder
from .files import FILE, kind_of, load, read, save
from .guess import latents
from .in_domain import InDomainEncoder
from .naive import NaiveEncoder
from .reenact import reenact_codes

__all__ = ["FILE", "BaseEncoder", "DifferenceEncoder", "InDomainEncoder", "NaiveEncoder"]
__all__ += ["kind_of", "latents", "load", "read", "reenact_codes", "save"]
