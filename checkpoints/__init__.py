"""The bundled networks, and the registry that finds a network by name or path."""

from .registry import LANDMARKS, Checkpoint, find, names

__all__ = ["LANDMARKS", "Checkpoint", "find", "names"]
