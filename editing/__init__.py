"""Edits: functions `Latents -> Latents`, a page each; and the landmarks that drive reenactment."""

from importlib import import_module
from pkgutil import iter_modules

from .feature_transport import FeatureTransport
from .landmark_edits import MOTIONS, mouth, smile, yaw
from .landmark_motion import LandmarkMotion, interpolate_landmarks
from .reenactment import reenact_latents
from .registry import EDITS, Edit, Parameter, get, register, register_page

__all__ = ["EDITS", "Edit", "Parameter", "get", "register", "register_page"]
__all__ += ["FeatureTransport"]
__all__ += ["LandmarkMotion", "interpolate_landmarks", "reenact_latents"]
__all__ += ["MOTIONS", "mouth", "smile", "yaw"]

for _module in iter_modules(__path__):
    _page = import_module(f"{__name__}.{_module.name}")
    if hasattr(_page, "EDIT"):
        register(_page.EDIT)
