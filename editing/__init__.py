"""What changes faces: motion of landmarks for reenactment."""

from .reenact import Motion, OneEuro, hold, morph, relative, similarity, smooth

__all__ = ["Motion", "OneEuro", "hold", "morph", "relative", "similarity", "smooth"]
