"""The bundled networks, and the registry that finds a network by name or path."""

from .registry import Checkpoint, find, names

__all__ = ["Checkpoint", "find", "names"]
