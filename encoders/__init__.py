"""Encoders: from an image to latents in one pass, and the recipes that train them.

A kind is one page or folder of this room, see `encoders.kinds`.
"""

from .base.network import BaseEncoder
from .difference.network import DifferenceEncoder
from .editor.network import FeatureEditor
from .encode import encode
from .feature.network import FeatureEncoder, FeaturePrediction
from .files import FILE, load, read, save
from .in_domain.network import InDomainEncoder
from .keypoint import KeypointEncoder
from .kinds import KINDS, EncoderKind, kind_of, register, register_page
from .naive import NaiveEncoder

__all__ = ["FILE", "KINDS", "BaseEncoder", "DifferenceEncoder", "EncoderKind"]
__all__ += ["FeatureEditor", "FeatureEncoder", "FeaturePrediction"]
__all__ += ["InDomainEncoder", "KeypointEncoder", "NaiveEncoder"]
__all__ += ["encode", "kind_of", "load", "read", "register", "register_page"]
__all__ += ["save"]
