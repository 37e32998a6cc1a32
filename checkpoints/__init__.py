"""The bundled networks, and the registry that finds a network by name or path."""

from .encoder_set import Encoder, EncoderSet
from .registry import LANDMARKS, Checkpoint, find, names

__all__ = ["LANDMARKS", "Checkpoint", "Encoder", "EncoderSet", "find", "names"]
