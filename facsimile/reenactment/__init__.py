"""Reenactment: a source's face that follows a driver, as a video."""

from .drivers import Driver, DriverFrame, LandmarkDriver, VideoDriver
from .scripted import ScriptedDriver, is_motion, read_motion
from .setup import find_driver, needs_inversion, pick_encoder, prepare_reenactment
from .stream import FrameStream, ReenactedFrame, Source
from .video import Reenactment

__all__ = ["Driver", "DriverFrame", "LandmarkDriver", "ScriptedDriver", "VideoDriver"]
__all__ += ["FrameStream", "ReenactedFrame", "Reenactment", "Source"]
__all__ += ["find_driver", "is_motion", "needs_inversion", "pick_encoder"]
__all__ += ["prepare_reenactment", "read_motion"]
