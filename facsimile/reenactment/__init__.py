"""Reenactment: a source's face that follows a driver, as a video."""

from .drivers import Driver, DriverFrame, LandmarkDriver, VideoDriver
from .scripted import ScriptedDriver, is_motion, read_motion
from .setup import find_driver, pick_encoder, pick_source_recipe, prepare_reenactment, takes_codes
from .source import Face, Source, SourceFinder, is_latents_file
from .stream import FrameStream, ReenactedFrame
from .video import Reenactment

__all__ = ["Driver", "DriverFrame", "LandmarkDriver", "ScriptedDriver", "VideoDriver"]
__all__ += ["Face", "FrameStream", "ReenactedFrame", "Reenactment", "Source", "SourceFinder"]
__all__ += ["find_driver", "is_latents_file", "is_motion", "pick_encoder"]
__all__ += ["pick_source_recipe", "prepare_reenactment", "read_motion", "takes_codes"]
