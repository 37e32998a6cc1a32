"""From an image to latents in one pass; the recipes by which `train.py` trains such networks."""

from .difference import DifferenceEncoder
from .encode import encode
from .feature import FeatureEncoder
from .files import FILE, kind_of, load, read, save
from .in_domain import InDomainEncoder
from .naive import NaiveEncoder
from .reenact import reenact_codes

__all__ = ["FILE", "FeatureEncoder", "DifferenceEncoder", "InDomainEncoder", "NaiveEncoder"]
__all__ += ["kind_of", "encode", "load", "read", "reenact_codes", "save"]
