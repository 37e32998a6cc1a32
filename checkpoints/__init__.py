"""The bundled networks, and the registry that finds networks by name or path."""

from .encoder_set import EncoderSet, LoadedEncoder
from .registry import LANDMARKS, Networks, find, names

__all__ = ["LANDMARKS", "EncoderSet", "LoadedEncoder", "Networks", "find", "names"]
