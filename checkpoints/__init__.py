"""The bundled networks, and the registry that finds networks by name or path."""

from .encoder_set import EncoderSet, LoadedEncoder
from .registry import BUNDLED, DISCRIMINATOR, GENERATOR, LANDMARKS, REGIONS, Networks, find, names

__all__ = ["BUNDLED", "DISCRIMINATOR", "GENERATOR", "LANDMARKS", "EncoderSet", "LoadedEncoder"]
__all__ += ["REGIONS", "Networks", "find", "names"]
